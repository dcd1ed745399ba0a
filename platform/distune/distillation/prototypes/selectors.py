"""The ways to select prototypes, by name: the paper's, and rivals that tell whether it matters.

Shape legend: ``D`` student channels, ``E`` teacher channels, ``N`` instances, ``K`` candidates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from distune.distillation.prototypes.kmeans import nearest_to_centres
from distune.distillation.prototypes.orthogonal_pursuit import pursue_orthogonally
from distune.distillation.prototypes.pursuit import check_selection, pursue


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
    """What the selectors are told. Each uses what has a meaning for it; settings that have none are refused earlier.

    Attributes:
        num_prototypes: how many to select, at least 1.
        alpha: ties the coefficients of the two spaces, at least 0: ``pursuit`` and ``orthogonal``.
        unique: select each instance at most once: ``pursuit``. The others never repeat one.
        seed: of what is random, 0 to 2^32 - 1: ``kmeans`` and ``random``.
    """

    num_prototypes: int
    alpha: float
    unique: bool
    seed: int


Selector = Callable[[Tensor, Tensor, Tensor, Selection], Tensor]
"""Unit features of N instances, (N, D) of the student and (N, E) of the teacher, and the indices (K,) that may be
selected, to the indices of those that were, in order of selection. At most K when each is selected once."""


@torch.no_grad()
def draw(student_ND: Tensor, teacher_NE: Tensor, candidates_K: Tensor, *, num_prototypes: int, seed: int) -> Tensor:
    """Draw candidates at random, each at most once: what prototypes are worth that nobody chose.

    Args:
        student_ND: student features of N instances, D channels. Not looked at.
        teacher_NE: teacher features of the same instances, E channels. Not looked at.
        candidates_K: indices into the N instances that may be selected.
        num_prototypes: how many to select, at least 1.
        seed: equal seeds draw alike, on every device.

    Raises:
        ValueError: the two spaces hold different numbers of instances, there is no candidate, or ``num_prototypes`` is
            below 1.
    """
    check_selection(student_ND, teacher_NE, candidates_K, num_prototypes)
    candidates_K = torch.unique(candidates_K)
    order_K = torch.randperm(candidates_K.numel(), generator=torch.Generator().manual_seed(seed))
    return candidates_K[order_K[:num_prototypes].to(candidates_K.device)]


def _pursuit(student_ND: Tensor, teacher_NE: Tensor, candidates_K: Tensor, how: Selection) -> Tensor:
    return pursue(
        student_ND,
        teacher_NE,
        candidates_K,
        num_prototypes=how.num_prototypes,
        alpha=how.alpha,
        unique=how.unique,
    )


def _orthogonal(student_ND: Tensor, teacher_NE: Tensor, candidates_K: Tensor, how: Selection) -> Tensor:
    return pursue_orthogonally(student_ND, teacher_NE, candidates_K, num_prototypes=how.num_prototypes, alpha=how.alpha)


def _kmeans(student_ND: Tensor, teacher_NE: Tensor, candidates_K: Tensor, how: Selection) -> Tensor:
    return nearest_to_centres(student_ND, teacher_NE, candidates_K, num_prototypes=how.num_prototypes, seed=how.seed)


def _random(student_ND: Tensor, teacher_NE: Tensor, candidates_K: Tensor, how: Selection) -> Tensor:
    return draw(student_ND, teacher_NE, candidates_K, num_prototypes=how.num_prototypes, seed=how.seed)


SELECTORS: dict[str, Selector] = {
    "pursuit": _pursuit,
    "orthogonal": _orthogonal,
    "kmeans": _kmeans,
    "random": _random,
}
"""By the name in the settings."""
