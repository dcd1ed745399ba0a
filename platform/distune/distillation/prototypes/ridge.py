"""Ridge regression of features on a small set of vectors.

Shape legend: ``M`` vectors, ``D`` channels, ``N`` features, ``X`` any axes.
"""

from __future__ import annotations

import torch
from torch import Tensor

_RELATIVE_RIDGE = 0.01


def dual_basis(basis_MD: Tensor) -> Tensor:
    """Return the dual basis ``(P P' + r I)^-1 P``: its inner products with a feature are the ridge coefficients.

    The ridge r is a hundredth of the mean squared length of the rows. It keeps the coefficients of near-equal
    prototypes small, and those of repeated ones defined.

    Args:
        basis_MD: P, M vectors of D channels, float64.

    Returns:
        (M, D).
    """
    present_M = torch.ones(basis_MD.shape[0], dtype=torch.bool, device=basis_MD.device)
    return dual_bases(basis_MD, present_M)


def dual_bases(bases_XMD: Tensor, valid_XM: Tensor) -> Tensor:
    """Return the dual basis of each of many bases, some of whose rows are missing, as ``dual_basis`` does for one.

    Args:
        bases_XMD: the rows of each basis; missing ones are zero.
        valid_XM: bool, the rows that exist; a basis may have none.

    Returns:
        (X, M, D); 0 in the rows of missing vectors.
    """
    gram_XMM = bases_XMD @ bases_XMD.mT
    num_rows_X = valid_XM.sum(dim=-1).clamp(min=1)
    ridge_X = _RELATIVE_RIDGE * gram_XMM.diagonal(dim1=-2, dim2=-1).sum(dim=-1) / num_rows_X
    # Rows that are missing are not tied to others: any number on their diagonal keeps them at 0.
    diagonal_XM = torch.where(valid_XM, ridge_X[..., None], 1.0)
    duals_XMD: Tensor = torch.linalg.solve(gram_XMM + torch.diag_embed(diagonal_XM), bases_XMD)
    return duals_XMD


def residual_sum_of_squares(features_ND: Tensor, basis_MD: Tensor) -> Tensor:
    """Return the residual sum of squares of the ridge fit of features on a basis, a scalar; M may be 0."""
    if basis_MD.shape[0] == 0:
        return features_ND.square().sum()
    return (features_ND - (features_ND @ dual_basis(basis_MD).T) @ basis_MD).square().sum()
