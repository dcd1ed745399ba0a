"""Least squares on a small set of features, solved once for many uses.

Shape legend: ``M`` vectors of the basis, ``D`` channels, ``N`` features.
"""

from __future__ import annotations

import torch
from torch import Tensor

_RELATIVE_RIDGE = 0.01


def dual_basis(basis_MD: Tensor) -> Tensor:
    """The rows whose inner products with a feature are its ridge coefficients on the basis: ``(P P' + r I)^-1 P``.

    The ridge r is a hundredth of the mean squared length of the rows: it keeps the coefficients of near-equal
    prototypes small and shared, and those of repeated ones defined.

    Args:
        basis_MD: M vectors of D channels, float64.
    """
    gram_MM = basis_MD @ basis_MD.T
    ridge_MM = torch.eye(len(gram_MM), dtype=gram_MM.dtype, device=gram_MM.device) * gram_MM.diagonal().mean()
    dual_MD: Tensor = torch.linalg.solve(gram_MM + _RELATIVE_RIDGE * ridge_MM, basis_MD)
    return dual_MD


def unexplained(features_ND: Tensor, basis_MD: Tensor) -> Tensor:
    """The summed squared length of what the ridge fit on the basis leaves of the features, a scalar; M may be 0."""
    if basis_MD.shape[0] == 0:
        return features_ND.square().sum()
    return (features_ND - (features_ND @ dual_basis(basis_MD).T) @ basis_MD).square().sum()
