"""The seam between the objective and its terms: what a training step offers, and what a term is.

Shape legend: ``B`` batch, ``D`` student channels, ``E`` teacher channels, ``H`` ``W`` a map, ``L`` common levels, ``N``
instances of the batch, ``R`` places of the student's head.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from distune.detectors.taps import Instances, StudentTaps, TeacherTaps
from distune.distillation.adapters import build_adapters
from distune.distillation.filtering import InstanceWeights
from distune.distillation.maps.alignment import align
from distune.distillation.maps.box_masks import weight_of_cells
from distune.distillation.maps.map_statistics import PairStatistics
from distune.distillation.maps.pooling import PooledFeatures
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
        features: gives the pooled features of the instances, the student's with gradient; computed once.
        statistics: of both models' maps; None where they are imitated as they are.
    """

    student: StudentTaps
    teacher: TeacherTaps
    strides: tuple[int, ...]
    weights: InstanceWeights
    representations: Representations | None
    features: Callable[[], PooledFeatures]
    statistics: PairStatistics | None = None
    _aligned: dict[int, Tensor] = dataclasses.field(default_factory=dict, init=False, repr=False, compare=False)
    _standardised: dict[int, tuple[Tensor, Tensor]] = dataclasses.field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def instances(self) -> Instances:
        """The ground truth of the batch, in the student's frame."""
        return self.student.instances

    def maps(self, level: int) -> tuple[Tensor, Tensor]:
        """Both maps of a level: the student's (B, D, H, W) with gradient, the teacher's (B, E, H, W) at the same cells.

        Float32; no gradient flows into the teacher's.
        """
        stride = self.strides[level]
        student_BDHW = self.student.neck[stride].float()
        if level not in self._aligned:
            height, width = student_BDHW.shape[-2:]
            teacher = self.teacher.view
            self._aligned[level] = align(
                teacher.neck[stride].detach().float(),
                teacher.frame,
                self.instances.frame,
                stride=stride,
                size=(height, width),
            )
        return student_BDHW, self._aligned[level]

    def imitated(self, level: int) -> tuple[Tensor, Tensor]:
        """As ``maps``, but as terms imitate them: standardised where there are statistics."""
        student_BDHW, teacher_BEHW = self.maps(level)
        if self.statistics is None:
            return student_BDHW, teacher_BEHW
        if level not in self._standardised:
            self._standardised[level] = self.statistics.take(level, student_BDHW, teacher_BEHW)
        return self._standardised[level]

    def local_weights(self, *, robust: bool) -> Tensor:
        """The weight of each instance on each level in the local terms, (L, N); 1 when not ``robust``."""
        return self.weights.local_LN if robust else torch.ones_like(self.weights.local_LN)

    def cell_weights(self, level: int, *, robust: bool) -> Tensor:
        """The weight of each cell of a level, (B, H, W): inside a box the box's, the largest of several; 1 elsewhere.

        1 everywhere when not ``robust``.
        """
        stride = self.strides[level]
        batch, _, height, width = self.student.neck[stride].shape
        if not robust:
            return torch.ones(batch, height, width, device=self.weights.local_LN.device)
        return weight_of_cells(self.weights.local_LN[level], self.instances, stride=stride, size=(height, width))

    def place_weights(self, *, robust: bool) -> Tensor:
        """The weight of each place of the student's head, (R,): its instance's mean over levels; 1 when not ``robust``.

        PredictionSites without an instance point at instance 0 and get its weight: they are left out by ``positive_R``.
        """
        weights_N = self.local_weights(robust=robust).mean(dim=0)
        return torch.cat([weights_N, weights_N.new_zeros(1)])[self.student.prediction_sites.instance_R]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TermContext:
    """What a term may need to know when it is built.

    Attributes:
        strides: the levels that both necks have, fine to coarse.
        student_channels: of the student's neck maps on these levels.
        teacher_channels: of the teacher's.
        score_kind: ``softmax`` or ``sigmoid``.
        base_size_px: the side from which a box belongs to stride 4 in the student; see ``Detector``.
        generator: the only source of random numbers for initial weights.
    """

    strides: tuple[int, ...]
    student_channels: tuple[int, ...]
    teacher_channels: tuple[int, ...]
    score_kind: str
    base_size_px: float
    generator: torch.Generator

    def for_term(self, name: str) -> TermContext:
        """The same with random numbers of the term's own, which no other term changes."""
        seed = zlib.crc32(f"{self.generator.initial_seed()} {name}".encode())
        return dataclasses.replace(self, generator=torch.Generator().manual_seed(seed))

    def base_size(self, given_px: float | None) -> float:
        """The size that a setting gives, or where it leaves that open the student's own."""
        return self.base_size_px if given_px is None else given_px

    def adapters(self, adapter: str, *, term: str) -> nn.ModuleList:
        """An adapter per level; see ``build_adapters``."""
        return build_adapters(
            adapter,
            term=term,
            student_channels=self.student_channels,
            teacher_channels=self.teacher_channels,
            generator=self.generator,
        )


class DistillationTerm(Protocol):
    """One thing that the student learns from the teacher. A term that has weights of its own is an ``nn.Module``."""

    @property
    def needs_prototypes(self) -> bool:
        """Whether the term is left out while there are no prototypes."""
        ...

    def __call__(self, step: Step) -> Tensor:
        """The unweighted loss: a float32 scalar of at least 0, with gradient to the student and to its own weights."""
        ...
