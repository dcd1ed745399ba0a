"""The seam between the objective and its terms: what a training step offers, and what a term is.

Shape legend: ``L`` common levels, ``N`` instances of the batch.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import torch
from torch import Tensor

from distune.detectors.taps import StudentTaps, TeacherTaps
from distune.distillation.filtering import InstanceWeights
from distune.distillation.representation import Representations


@dataclasses.dataclass(frozen=True)
class Step:
    """One training step, seen from the terms.

    Attributes:
        student: the student's forward pass, with gradient.
        teacher: the teacher's on the same images.
        strides: the levels that both necks have, fine to coarse.
        weights: of each instance on each of these levels.
        representations: the instances on the prototypes; None while there are no prototypes.
    """

    student: StudentTaps
    teacher: TeacherTaps
    strides: tuple[int, ...]
    weights: InstanceWeights
    representations: Representations | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class TermContext:
    """What a term may need to know when it is built.

    Attributes:
        strides: the levels that both necks have, fine to coarse.
        student_channels: of the student's neck maps.
        teacher_channels: of the teacher's neck maps.
        score_kind: ``softmax`` or ``sigmoid``.
        generator: the only source of random numbers for initial weights.
    """

    strides: tuple[int, ...]
    student_channels: int
    teacher_channels: int
    score_kind: str
    generator: torch.Generator


class DistillationTerm(Protocol):
    """One thing that the student learns from the teacher. A term that has weights of its own is an ``nn.Module``."""

    @property
    def needs_prototypes(self) -> bool:
        """Whether the term is left out while there are no prototypes."""
        ...

    def __call__(self, step: Step) -> Tensor:
        """The unweighted loss: a float32 scalar of at least 0, with gradient to the student and to its own weights."""
        ...
