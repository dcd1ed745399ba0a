"""Figures about the selection of prototypes.

Shape legend: ``N`` instances of a class, ``P`` its prototypes on a level, ``D`` student and ``E`` teacher channels.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from distune.distillation.prototypes.density import Candidates
from distune.distillation.prototypes.ridge import residual_sum_of_squares


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrototypeReport:
    """Figures about one selection of prototypes.

    Attributes:
        instances: the number of instances that prototypes were selected from.
        per_class: mean number of prototypes of a class on a level.
        classes_without: the number of classes without prototypes on some level.
        classes_fell_back: the number of classes where, on some level, no instance passed the density filter and the
            densest were used.
        kept_by_density: fraction of the instances that passed the density filter.
        repeats: fraction of the prototypes whose instance was selected before.
        reconstruction_error: fraction of the unit features' squared length that the prototypes of their class do not
            explain, over both models.
        coverage_student: cosine between an instance and the nearest prototype of its class in the student's space, mean
            over instances and levels; instances whose feature is zero do not count.
        coverage_teacher: the same in the teacher's space.
        density_estimated: fraction of the instances whose density was estimated from a sample because there were too
            many for the exact one.
        density_error: the relative standard error of those estimates, mean over instances; of the class and level where
            it is largest. 0 when all densities are exact.
    """

    instances: int
    per_class: float
    classes_without: int
    classes_fell_back: int
    kept_by_density: float
    repeats: float
    reconstruction_error: float
    coverage_student: float
    coverage_teacher: float
    density_estimated: float
    density_error: float

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the metric names, in the order of ``metrics``."""
        return tuple(f"prototypes/{field.name}" for field in dataclasses.fields(cls))

    def metrics(self) -> dict[str, float]:
        """Return the figures by metric name, such as ``prototypes/repeats``."""
        values = dataclasses.astuple(self)
        return {name: float(value) for name, value in zip(self.names(), values, strict=True)}


class ReportAccumulator:
    """Accumulates a report, class by class and level by level.

    Args:
        num_selections: classes times levels.
    """

    def __init__(self, *, num_selections: int) -> None:
        self._num_selections = num_selections
        self._without: set[int] = set()
        self._fell_back: set[int] = set()
        self._sums = {"instances": 0, "candidates": 0, "prototypes": 0, "repeats": 0, "estimated": 0}
        self._energy = 0.0
        self._residual = 0.0
        self._density_error = 0.0
        self._coverage = (_Mean(), _Mean())

    def update(
        self, class_index: int, student_ND: Tensor, teacher_NE: Tensor, candidates: Candidates, selected_P: Tensor
    ) -> None:
        """Add one class on one level.

        Args:
            class_index: 0 for label 1.
            student_ND: unit features of the student.
            teacher_NE: unit features of the teacher.
            candidates: the instances that could be selected.
            selected_P: indices of the instances that were.
        """
        if selected_P.numel() == 0:
            self._without.add(class_index)
        if candidates.fell_back:
            self._fell_back.add(class_index)
        self._sums["instances"] += student_ND.shape[0]
        self._sums["candidates"] += candidates.indices_K.numel()
        self._sums["prototypes"] += selected_P.numel()
        self._sums["repeats"] += selected_P.numel() - torch.unique(selected_P).numel()
        if candidates.density_error is not None:
            self._sums["estimated"] += student_ND.shape[0]
            self._density_error = max(self._density_error, candidates.density_error)
        for features_ND, coverage in zip((student_ND, teacher_NE), self._coverage, strict=True):
            self._energy += float(features_ND.square().sum())
            self._residual += float(residual_sum_of_squares(features_ND, features_ND[selected_P]))
            coverage.add(*_nearest_cosines(features_ND, features_ND[selected_P]))

    def compute(self, num_instances: int) -> PrototypeReport:
        """Return the report over ``num_instances`` instances of all classes."""
        return PrototypeReport(
            instances=num_instances,
            per_class=self._sums["prototypes"] / self._num_selections,
            classes_without=len(self._without),
            classes_fell_back=len(self._fell_back),
            kept_by_density=self._sums["candidates"] / max(1, self._sums["instances"]),
            repeats=self._sums["repeats"] / max(1, self._sums["prototypes"]),
            reconstruction_error=self._residual / self._energy if self._energy > 0 else 0.0,
            coverage_student=self._coverage[0].value,
            coverage_teacher=self._coverage[1].value,
            density_estimated=self._sums["estimated"] / max(1, self._sums["instances"]),
            density_error=self._density_error,
        )


class _Mean:
    def __init__(self) -> None:
        self._total, self._count = 0.0, 0

    def add(self, total: float, count: int) -> None:
        self._total += total
        self._count += count

    @property
    def value(self) -> float:
        return self._total / self._count if self._count else 0.0


def _nearest_cosines(unit_ND: Tensor, prototypes_PD: Tensor) -> tuple[float, int]:
    """Return the sum and the number of the cosines of instances to their nearest prototype; 0 without prototypes."""
    count = int(unit_ND.any(dim=1).sum())
    if prototypes_PD.shape[0] == 0:
        return 0.0, count
    # A zero feature has the cosine 0 with every prototype, and adds nothing.
    return float((unit_ND @ prototypes_PD.T).amax(dim=1).sum()), count
