"""Robust distilling (RDM): the weight of an instance, from the discrepancy between student and teacher.

Tang et al., ECCV 2022, arXiv 2210.09022. Weights are between 0 and 1 and carry no gradient. An instance whose class has
no prototypes gets weight 1. On a level on which an instance does not count, because it is small there, it has the mean
of its weights on the levels on which it does.

Shape legend: ``L`` levels, ``N`` instances, ``M`` prototypes of the instance's class.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from distune.collectives import gather_rows, sum_over_processes
from distune.config.distillation import FilterSettings
from distune.distillation.representation import Representation, Representations, gather_class


@dataclasses.dataclass(frozen=True)
class InstanceWeights:
    """The weight of each instance on each level.

    Attributes:
        global_LN: for the global knowledge term.
        local_LN: for the local terms.
        discrepancy_LN: from which the weights follow; 0 where there are no prototypes.
        has_prototypes_LN: bool, whether the instance counts on the level and its class has prototypes there.
    """

    global_LN: Tensor
    local_LN: Tensor
    discrepancy_LN: Tensor
    has_prototypes_LN: Tensor

    @classmethod
    def ones(cls, num_levels: int, num_instances: int, device: torch.device) -> InstanceWeights:
        """Return the weights while there are no prototypes."""
        ones_LN = torch.ones(num_levels, num_instances, device=device)
        zeros_LN = torch.zeros_like(ones_LN)
        return cls(ones_LN, ones_LN, zeros_LN, zeros_LN.bool())


def max_cosine(student_LNM: Tensor, teacher_LNM: Tensor, valid_LNM: Tensor) -> Tensor:
    """Return ``|max_p cos^s_p - max_p cos^t_p|``, as the release does: it ignores which prototype is the nearest."""
    nearest_student_LN = student_LNM.masked_fill(~valid_LNM, -2.0).amax(dim=2)
    nearest_teacher_LN = teacher_LNM.masked_fill(~valid_LNM, -2.0).amax(dim=2)
    return (nearest_student_LN - nearest_teacher_LN).abs()


def mean_cosine(student_LNM: Tensor, teacher_LNM: Tensor, valid_LNM: Tensor) -> Tensor:
    """Return ``mean_p |cos^s_p - cos^t_p|``."""
    difference_LNM = (student_LNM - teacher_LNM).abs() * valid_LNM
    mean_LN: Tensor = difference_LNM.sum(dim=2) / valid_LNM.sum(dim=2).clamp(min=1)
    return mean_LN


def coefficient(student_LNM: Tensor, teacher_LNM: Tensor, valid_LNM: Tensor) -> Tensor:
    """Return ``|w^s - w^t|``, the distance between the coefficients on the common basis."""
    distance_LN: Tensor = torch.linalg.vector_norm((student_LNM - teacher_LNM) * valid_LNM, dim=2)
    return distance_LN


def linear(discrepancy_LN: Tensor, _has_prototypes_LN: Tensor, threshold: float) -> Tensor:
    """Return ``clamp(1 - delta / threshold, 0, 1)``; threshold 1 is the release's."""
    return (1 - discrepancy_LN / threshold).clamp(0, 1)


def gaussian(discrepancy_LN: Tensor, _has_prototypes_LN: Tensor, threshold: float) -> Tensor:
    """Return ``exp(-delta^2 / (2 threshold^2))``."""
    return torch.exp(-(discrepancy_LN**2) / (2 * threshold**2))


def step(discrepancy_LN: Tensor, _has_prototypes_LN: Tensor, threshold: float) -> Tensor:
    """Return ``1[delta <= threshold]``."""
    return (discrepancy_LN <= threshold).to(discrepancy_LN.dtype)


def quantile(discrepancy_LN: Tensor, has_prototypes_LN: Tensor, threshold: float) -> Tensor:
    """Return 0 for the noisiest ``floor(threshold n)`` of a level's n instances with prototypes, 1 for the others.

    Instances of equal discrepancy are dropped together or not at all, so never more than that many are dropped.
    """
    known_last_LN = discrepancy_LN.masked_fill(~has_prototypes_LN, torch.inf)
    known_of_batch = gather_rows(known_last_LN, dim=1)
    num_less_LN = torch.searchsorted(known_of_batch.sort(dim=1).values, known_last_LN)
    num_known_L1 = sum_over_processes(has_prototypes_LN.sum(dim=1, keepdim=True))
    num_dropped_L1 = torch.floor(threshold * num_known_L1.double() + 1e-6)
    return (num_known_L1 - num_less_LN > num_dropped_L1).to(discrepancy_LN.dtype)


def uniform(discrepancy_LN: Tensor, _has_prototypes_LN: Tensor, _threshold: float) -> Tensor:
    """Return 1: nothing is filtered."""
    return torch.ones_like(discrepancy_LN)


DISCREPANCIES: dict[str, tuple[Representation, Callable[[Tensor, Tensor, Tensor], Tensor]]] = {
    "max_cosine": ("cosine", max_cosine),
    "mean_cosine": ("cosine", mean_cosine),
    "coefficient": ("coefficient", coefficient),
}
"""Name to the representation that is compared and the comparison, from (L, N, M) each to (L, N)."""

WEIGHTS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "linear": linear,
    "gaussian": gaussian,
    "threshold": step,
    "quantile": quantile,
    "uniform": uniform,
}
"""Name to the function of discrepancy, known instances and threshold."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RobustFilter:
    """Computes the weights of instances from their representations.

    Attributes:
        discrepancy: a name in ``DISCREPANCIES``.
        weight: a name in ``WEIGHTS``.
        global_threshold: of the weights for the global knowledge term.
        local_threshold: of the weights for the local terms.
    """

    discrepancy: str
    weight: str
    global_threshold: float
    local_threshold: float

    @torch.no_grad()
    def __call__(self, representations: Representations, counted_LN: Tensor | None = None) -> InstanceWeights:
        """Return the weights of a batch's instances on each level.

        Args:
            representations: of the instances.
            counted_LN: bool, the levels on which each instance counts; None counts all on all.

        Returns:
            The weights.
        """
        representation, compare = DISCREPANCIES[self.discrepancy]
        student_LNCM, teacher_LNCM = representations.of(representation)
        class_N = representations.class_N
        valid_LNM = gather_class(representations.valid_LNCM, class_N)
        counted_LN = torch.ones_like(valid_LNM[:, :, 0]) if counted_LN is None else counted_LN
        valid_LNM = valid_LNM & counted_LN[:, :, None]
        has_prototypes_LN = valid_LNM.any(dim=2)
        discrepancy_LN = compare(
            gather_class(student_LNCM.detach(), class_N), gather_class(teacher_LNCM, class_N), valid_LNM
        )

        def weights_of(threshold: float) -> Tensor:
            weights_LN = WEIGHTS[self.weight](discrepancy_LN, has_prototypes_LN, threshold)
            return _fill_levels(torch.where(has_prototypes_LN, weights_LN, 1.0), counted_LN)

        return InstanceWeights(
            global_LN=weights_of(self.global_threshold),
            local_LN=weights_of(self.local_threshold),
            discrepancy_LN=discrepancy_LN,
            has_prototypes_LN=has_prototypes_LN,
        )


def _fill_levels(weights_LN: Tensor, counted_LN: Tensor) -> Tensor:
    """Return the weights with each instance's mean over the levels where it counts on those where it does not."""
    mean_N = (weights_LN * counted_LN).sum(dim=0) / counted_LN.sum(dim=0)
    return torch.where(counted_LN, weights_LN, mean_N)


def build_filter(settings: FilterSettings) -> RobustFilter:
    """Build the filter. The settings have checked that a quantile is less than 1."""
    return RobustFilter(
        discrepancy=settings.discrepancy,
        weight=settings.weight,
        global_threshold=settings.global_threshold,
        local_threshold=settings.local_threshold,
    )
