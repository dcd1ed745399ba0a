"""Prototype selectors by name: the paper's and three baselines.

Shape legend: ``D`` student channels, ``E`` teacher channels, ``N`` instances, ``K`` candidates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from distune.distillation.prototypes.kmeans import nearest_to_centers
from distune.distillation.prototypes.orthogonal_pursuit import pursue_orthogonally
from distune.distillation.prototypes.pursuit import check_selection, pursue


@dataclasses.dataclass(frozen=True, kw_only=True)
class SelectionOptions:
    """Options of the selectors. The settings refuse options that the selector does not use.

    Attributes:
        num_prototypes: how many to select, at least 1.
        alpha: ties the coefficients of the two spaces, at least 0: ``pursuit`` and ``orthogonal``.
        unique: select each instance at most once: ``pursuit``. The others never repeat one.
        seed: of the random numbers, 0 to 2^32 - 1: ``kmeans`` and ``random``.
    """

    num_prototypes: int
    alpha: float
    unique: bool
    seed: int


Selector = Callable[[Tensor, Tensor, Tensor, SelectionOptions], Tensor]
"""Unit features of N instances, (N, D) of the student and (N, E) of the teacher, and the indices (K,) that may be
selected, to the selected indices in order of selection. At most K when each is selected once."""


@torch.no_grad()
def random_instances(
    student_ND: Tensor, teacher_NE: Tensor, candidates_K: Tensor, *, num_prototypes: int, seed: int
) -> Tensor:
    """Select candidates at random, each at most once: the baseline of the other selectors.

    Args:
        student_ND: student features of N instances, D channels. Not used.
        teacher_NE: teacher features of the same instances, E channels. Not used.
        candidates_K: indices into the N instances that may be selected.
        num_prototypes: how many to select, at least 1.
        seed: equal seeds select alike, on every device.

    Returns:
        Indices of the selected instances, (min(num_prototypes, K),), all different.

    Raises:
        ValueError: the two spaces hold different numbers of instances, there is no candidate, or ``num_prototypes`` is
            below 1.
    """
    check_selection(student_ND, teacher_NE, candidates_K, num_prototypes)
    candidates_K = torch.unique(candidates_K)
    order_K = torch.randperm(candidates_K.numel(), generator=torch.Generator().manual_seed(seed))
    return candidates_K[order_K[:num_prototypes].to(candidates_K.device)]


def _pursuit(student_ND: Tensor, teacher_NE: Tensor, candidates_K: Tensor, options: SelectionOptions) -> Tensor:
    return pursue(
        student_ND,
        teacher_NE,
        candidates_K,
        num_prototypes=options.num_prototypes,
        alpha=options.alpha,
        unique=options.unique,
    )


def _orthogonal(student_ND: Tensor, teacher_NE: Tensor, candidates_K: Tensor, options: SelectionOptions) -> Tensor:
    return pursue_orthogonally(
        student_ND, teacher_NE, candidates_K, num_prototypes=options.num_prototypes, alpha=options.alpha
    )


def _kmeans(student_ND: Tensor, teacher_NE: Tensor, candidates_K: Tensor, options: SelectionOptions) -> Tensor:
    return nearest_to_centers(
        student_ND, teacher_NE, candidates_K, num_prototypes=options.num_prototypes, seed=options.seed
    )


def _random(student_ND: Tensor, teacher_NE: Tensor, candidates_K: Tensor, options: SelectionOptions) -> Tensor:
    return random_instances(
        student_ND, teacher_NE, candidates_K, num_prototypes=options.num_prototypes, seed=options.seed
    )


SELECTORS: dict[str, Selector] = {
    "pursuit": _pursuit,
    "orthogonal": _orthogonal,
    "kmeans": _kmeans,
    "random": _random,
}
"""By the name in the settings."""
