"""The density filter: instances in sparse regions of feature space cannot become prototypes.

Shape legend: ``D`` student channels, ``E`` teacher channels, ``N`` instances of a class, ``K`` candidates, ``R`` a
random sample of the instances, ``b`` a block of them.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

_LARGEST_BLOCK = 4_000_000
_LARGEST_EXACT = 8_192
"""Up to this many instances densities are exact; their cost grows with the square of the number."""
_NUM_REFERENCES = 4_096


@dataclasses.dataclass(frozen=True)
class Candidates:
    """The instances that can become prototypes.

    Attributes:
        indices_K: ascending indices into the N instances; empty only when no instance is usable.
        fell_back: whether no instance was dense enough in both spaces, so that these are the densest ones.
        density_error: the relative standard error of the densities, mean over the usable instances, in the worse of the
            two spaces; None when no density was estimated.
    """

    indices_K: Tensor
    fell_back: bool
    density_error: float | None = None


def density(unit_ND: Tensor, *, bandwidth: float) -> Tensor:
    """Return the number of instances near each one: ``rho_i = sum_j exp(-((1 - g_i.g_j) / bandwidth)^2)``.

    The instances are compared block by block, so memory stays bounded however many there are.

    Args:
        unit_ND: unit-norm features of N instances, D channels.
        bandwidth: width of the estimate, in cosine distance.

    Returns:
        (N,), between 0 and N.
    """
    blocks = torch.split(unit_ND, _rows_per_block(unit_ND.shape[0]))
    return torch.cat([_kernel(block_bD @ unit_ND.T, bandwidth).sum(dim=1) for block_bD in blocks])


def estimated_density(unit_ND: Tensor, *, bandwidth: float, num_references: int, seed: int) -> tuple[Tensor, Tensor]:
    """Estimate ``density`` from a random sample of the instances drawn without replacement.

    ``rho_i = k_ii + (N - 1) mean_j k_ij`` over the R_i instances j of the sample other than i, which has no bias.
    Computed in float32: its rounding is far below the error of any sample.

    Args:
        unit_ND: unit-norm features of N instances, D channels.
        bandwidth: width of the estimate, in cosine distance.
        num_references: R, the size of the sample, 3 to N.
        seed: of the sample; equal seeds draw alike, on every device.

    Returns:
        The estimates, and their standard errors ``(N - 1) sd_j(k_ij) sqrt((1 - R_i / (N - 1)) / R_i)``; (N,) each,
        float64.
    """
    num_others = unit_ND.shape[0] - 1
    unit_ND = unit_ND.float()
    drawn = torch.randperm(unit_ND.shape[0], generator=torch.Generator().manual_seed(seed))[:num_references]
    sample_R = drawn.to(unit_ND.device)
    sums: list[Tensor] = []
    for block_bD in torch.split(unit_ND, _rows_per_block(num_references)):
        kernel_bR = _kernel(block_bD @ unit_ND[sample_R].T, bandwidth)
        sums.append(torch.stack([kernel_bR.sum(dim=1), kernel_bR.square_().sum(dim=1)]))
    sum_N, square_N = torch.cat(sums, dim=1).double()
    self_N = _kernel(unit_ND.square().sum(dim=1), bandwidth).double()
    in_sample_N = torch.zeros_like(self_N).index_fill_(0, sample_R, 1.0)
    count_N = num_references - in_sample_N
    mean_N = (sum_N - in_sample_N * self_N) / count_N
    scatter_N = (square_N - in_sample_N * self_N.square() - count_N * mean_N.square()).clamp(min=0)
    variance_N = scatter_N / (count_N - 1) * (1 - count_N / num_others).clamp(min=0) / count_N
    return self_N + num_others * mean_N, num_others * variance_N.sqrt()


def dense_candidates(
    student_ND: Tensor,
    teacher_NE: Tensor,
    usable_N: Tensor,
    *,
    bandwidth: float,
    quantile: float,
    at_least: int,
    seed: int = 0,
) -> Candidates:
    """Return the instances whose density is above the quantile in both spaces.

    When there is none (one instance, equal densities, spaces that disagree) the densest are returned: the fraction of
    instances above the quantile, but at least ``at_least``, by the worse of their two density ranks. Lowering both
    quantiles together until enough remain would keep the same.

    Densities are exact up to 8,192 instances. Of more they are estimated from a sample of 4,096, the same in both
    spaces.

    Args:
        student_ND: unit-norm student features of N instances, D channels.
        teacher_NE: unit-norm teacher features of the same instances, E channels.
        usable_N: bool; other instances, such as zero features, are never candidates.
        bandwidth: width of the density estimate, in cosine distance.
        quantile: the fraction of instances at or below the threshold in each space; 0 keeps all usable instances.
        at_least: the smallest number that the fallback returns when that many are usable.
        seed: of the sample that densities are estimated from.

    Returns:
        The candidates, and how they were found.
    """
    usable_K = usable_N.nonzero().squeeze(1)
    if quantile == 0 or usable_K.numel() == 0:
        return Candidates(usable_K, fell_back=False)
    rho_student_N, error_student = _density(student_ND, usable_N, bandwidth, seed)
    rho_teacher_N, error_teacher = _density(teacher_NE, usable_N, bandwidth, seed)
    error = None if error_student is None or error_teacher is None else max(error_student, error_teacher)
    dense_N = (rho_student_N > torch.quantile(rho_student_N, quantile)) & (
        rho_teacher_N > torch.quantile(rho_teacher_N, quantile)
    )
    indices_K = (dense_N & usable_N).nonzero().squeeze(1)
    if indices_K.numel() > 0:
        return Candidates(indices_K, fell_back=False, density_error=error)
    num_kept = max(at_least, math.ceil((1 - quantile) * usable_K.numel()))
    best_K = _joint_rank(rho_student_N, rho_teacher_N)[usable_K].argsort(descending=True, stable=True)[:num_kept]
    return Candidates(usable_K[best_K].sort().values, fell_back=True, density_error=error)


def _density(unit_ND: Tensor, usable_N: Tensor, bandwidth: float, seed: int) -> tuple[Tensor, float | None]:
    if unit_ND.shape[0] <= _LARGEST_EXACT:
        return density(unit_ND, bandwidth=bandwidth), None
    rho_N, error_N = estimated_density(unit_ND, bandwidth=bandwidth, num_references=_NUM_REFERENCES, seed=seed)
    return rho_N, float((error_N / rho_N)[usable_N].mean())


def _kernel(cosines: Tensor, bandwidth: float) -> Tensor:
    return cosines.sub(1).div_(bandwidth).square_().neg_().exp_()


def _rows_per_block(num_columns: int) -> int:
    return max(1, _LARGEST_BLOCK // max(1, num_columns))


def _joint_rank(rho_student_N: Tensor, rho_teacher_N: Tensor) -> Tensor:
    ranks_2N = torch.stack([torch.searchsorted(rho_N.sort().values, rho_N) for rho_N in (rho_student_N, rho_teacher_N)])
    return ranks_2N.amin(dim=0) * (2 * rho_student_N.shape[0]) + ranks_2N.sum(dim=0)
