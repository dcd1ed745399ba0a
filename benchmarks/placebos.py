"""Placebos: parts of the method replaced by something of equal form without its information.

A part earns its place only where the method beats its placebo under equal budget, start and seeds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from distune.distillation.filtering import InstanceWeights
from distune.distillation.objective import Objective
from distune.distillation.prototypes.prototypes import Prototypes
from distune.distillation.representation import Representations


def permute_teacher_prototypes(objective: Objective, seed: int) -> None:
    """Give each student prototype the teacher prototype of another instance, of any class on the same level.

    The global loss keeps its form, its scale and the set of prototypes; only the pairs of rows are wrong.
    """
    manager = objective.prototype_manager
    assert manager is not None, "this arm has no prototypes to permute"
    select = manager._select
    generator = torch.Generator().manual_seed(seed)

    def select_and_permute(*args: object, **kwargs: object) -> object:
        prototypes, report = select(*args, **kwargs)
        _permute(prototypes, generator)
        return prototypes, report

    manager._select = select_and_permute  # type: ignore[assignment]


def shuffle_filter_weights(objective: Objective, seed: int) -> None:
    """Give each instance the filter's weight of another instance of its batch, level by level."""
    weigh = objective._filter
    generator = torch.Generator().manual_seed(seed)

    def weigh_and_shuffle(representations: Representations, counted_LN: Tensor | None = None) -> InstanceWeights:
        weights = weigh(representations, counted_LN)
        order_N = torch.randperm(weights.local_LN.shape[1], generator=generator)
        return dataclasses.replace(
            weights, global_LN=weights.global_LN[:, order_N], local_LN=weights.local_LN[:, order_N]
        )

    objective._filter = weigh_and_shuffle  # type: ignore[assignment]


def _permute(prototypes: Prototypes, generator: torch.Generator) -> None:
    for level in range(prototypes.valid.shape[0]):
        rows = prototypes.valid[level].flatten().nonzero().squeeze(1)
        others = rows[torch.randperm(len(rows), generator=generator)]
        for values in (prototypes.teacher, prototypes.teacher_dual):
            flat_PE = values[level].flatten(0, 1)
            flat_PE[rows] = flat_PE[others].clone()
            values[level] = flat_PE.view_as(values[level])


PLACEBOS: dict[str, Callable[[Objective, int], None]] = {
    "permuted_prototypes": permute_teacher_prototypes,
    "shuffled_filter": shuffle_filter_weights,
}
"""Name to the function that changes an objective in place, given the seed of the arm."""
