"""The density filter: instances that lie alone in feature space cannot become prototypes.

Shape legend: ``D`` student channels, ``E`` teacher channels, ``N`` instances of a class, ``K`` candidates.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

_LARGEST_BLOCK = 4_000_000


@dataclasses.dataclass(frozen=True)
class Candidates:
    """The instances that may become prototypes.

    Attributes:
        indices_K: ascending indices into the N instances; empty only when no instance is usable.
        fell_back: no instance was dense enough in both spaces, so these are the densest ones.
    """

    indices_K: Tensor
    fell_back: bool


def density(unit_ND: Tensor, *, bandwidth: float) -> Tensor:
    """How many instances lie near each one: ``rho_i = sum_j exp(-((1 - g_i.g_j) / bandwidth)^2)``.

    The instances are compared block by block, so memory stays bounded however many there are.

    Args:
        unit_ND: unit-norm features of N instances, D channels.
        bandwidth: width of the estimate, in cosine distance.

    Returns:
        (N,), between 0 and N.
    """
    rows_per_block = max(1, _LARGEST_BLOCK // max(1, unit_ND.shape[0]))
    blocks = [
        torch.exp(-(((1 - block_bD @ unit_ND.T) / bandwidth) ** 2)).sum(dim=1)
        for block_bD in torch.split(unit_ND, rows_per_block)
    ]
    return torch.cat(blocks)


def dense_candidates(
    student_ND: Tensor, teacher_NE: Tensor, usable_N: Tensor, *, bandwidth: float, quantile: float, at_least: int
) -> Candidates:
    """The instances whose density is above the quantile in both spaces.

    Where there is none (one instance, equal densities, spaces that disagree) the densest stand in: the quantile's share
    of the instances, but at least ``at_least``, by the worse of their two density ranks. That is what lowering both
    quantiles together until enough remain would keep.

    Args:
        student_ND: unit-norm student features of N instances, D channels.
        teacher_NE: unit-norm teacher features of the same instances, E channels.
        usable_N: bool; the others, such as zero features, are never candidates.
        bandwidth: width of the density estimate, in cosine distance.
        quantile: the share of instances below the bar in each space; 0 keeps all that are usable.
        at_least: how many the fallback returns when that many are usable.
    """
    usable_K = usable_N.nonzero().squeeze(1)
    if quantile == 0 or usable_K.numel() == 0:
        return Candidates(usable_K, fell_back=False)
    rho_student_N = density(student_ND, bandwidth=bandwidth)
    rho_teacher_N = density(teacher_NE, bandwidth=bandwidth)
    dense_N = (rho_student_N > torch.quantile(rho_student_N, quantile)) & (
        rho_teacher_N > torch.quantile(rho_teacher_N, quantile)
    )
    indices_K = (dense_N & usable_N).nonzero().squeeze(1)
    if indices_K.numel() > 0:
        return Candidates(indices_K, fell_back=False)
    num_kept = max(at_least, math.ceil((1 - quantile) * usable_K.numel()))
    best_K = _joint_rank(rho_student_N, rho_teacher_N)[usable_K].argsort(descending=True, stable=True)[:num_kept]
    return Candidates(usable_K[best_K].sort().values, fell_back=True)


def _joint_rank(rho_student_N: Tensor, rho_teacher_N: Tensor) -> Tensor:
    ranks_2N = torch.stack([torch.searchsorted(rho_N.sort().values, rho_N) for rho_N in (rho_student_N, rho_teacher_N)])
    return ranks_2N.amin(dim=0) * (2 * rho_student_N.shape[0]) + ranks_2N.sum(dim=0)
