"""The interface between the objective and its terms: a training step, and a term. A new term: ``terms/__init__.py``.

Shape legend: ``B`` batch, ``D`` student channels, ``E`` teacher channels, ``H`` ``W`` a map, ``L`` common levels, ``N``
instances of the batch, ``R`` prediction sites of the student's head.
"""

from __future__ import annotations

import dataclasses
import functools
import zlib
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from distune.detectors.taps import Instances, StudentTaps, TeacherTaps
from distune.distillation.adapters import build_adapters
from distune.distillation.filtering import InstanceWeights
from distune.distillation.maps.alignment import align
from distune.distillation.maps.box_masks import cell_weights, counted_levels, level_of_boxes
from distune.distillation.maps.map_statistics import PairStatistics
from distune.distillation.maps.padding import valid_cells, without_padding
from distune.distillation.maps.pooling import PooledFeatures
from distune.distillation.prototypes.feature_centers import Centers
from distune.distillation.representation import Representations


@dataclasses.dataclass(frozen=True)
class Step:
    """One training step, as the terms see it.

    Attributes:
        student: the student's forward pass, with gradient.
        teacher: the teacher's on the same images.
        strides: the levels that both necks have, fine to coarse.
        weights: of each instance on each of these levels.
        representations: the instances on the prototypes; None while there are no prototypes.
        features: returns the pooled features of the instances, the student's with gradient; computed once.
        statistics: of both models' maps; None when maps are not standardized.
        min_box_cells: see ``counted_levels``.
        centers: of both models' features; None leaves features as they are.
    """

    student: StudentTaps
    teacher: TeacherTaps
    strides: tuple[int, ...]
    weights: InstanceWeights
    representations: Representations | None
    features: Callable[[], PooledFeatures]
    statistics: PairStatistics | None = None
    min_box_cells: float = 0.0
    centers: Centers | None = None
    _valid: dict[int, Tensor | None] = dataclasses.field(default_factory=dict, init=False, repr=False, compare=False)
    _maps: dict[int, tuple[Tensor, Tensor]] = dataclasses.field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _standardized: dict[int, tuple[Tensor, Tensor]] = dataclasses.field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _box_levels: dict[float, Tensor] = dataclasses.field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def instances(self) -> Instances:
        """The ground truth of the batch, in the student's frame."""
        return self.student.instances

    def valid_cells(self, level: int) -> Tensor | None:
        """Return the cells of a level that belong to an image, (B, H, W) bool; None when no cell lies in padding."""
        if level not in self._valid:
            map_BDHW = self.student.neck[self.strides[level]]
            height, width = map_BDHW.shape[-2:]
            self._valid[level] = valid_cells(
                self.instances.frame, stride=self.strides[level], size=(height, width), device=map_BDHW.device
            )
        return self._valid[level]

    def zero_padding(self, level: int, values_BHW: Tensor) -> Tensor:
        """Return the values of a level's cells with 0 in padding."""
        valid_BHW = self.valid_cells(level)
        return values_BHW if valid_BHW is None else torch.where(valid_BHW, values_BHW, 0.0)

    def maps(self, level: int) -> tuple[Tensor, Tensor]:
        """Return both maps of a level, float32, with 0 in padding.

        Args:
            level: index into ``strides``.

        Returns:
            The student's, (B, D, H, W), with gradient, and the teacher's at the same cells, (B, E, H, W), without.
        """
        if level not in self._maps:
            stride, valid_BHW = self.strides[level], self.valid_cells(level)
            student_BDHW = self.student.neck[stride].float()
            height, width = student_BDHW.shape[-2:]
            teacher = self.teacher.view
            teacher_BEHW = align(
                teacher.neck[stride].detach().float(),
                teacher.frame,
                self.instances.frame,
                stride=stride,
                size=(height, width),
            )
            self._maps[level] = without_padding(student_BDHW, valid_BHW), without_padding(teacher_BEHW, valid_BHW)
        return self._maps[level]

    def imitation_maps(self, level: int) -> tuple[Tensor, Tensor]:
        """Return both maps of a level for imitation: those of ``maps``, standardized when there are statistics."""
        student_BDHW, teacher_BEHW = self.maps(level)
        if self.statistics is None:
            return student_BDHW, teacher_BEHW
        if level not in self._standardized:
            valid_BHW = self.valid_cells(level)
            both = self.statistics.update_and_standardize(level, student_BDHW, teacher_BEHW, valid_BHW)
            self._standardized[level] = without_padding(both[0], valid_BHW), without_padding(both[1], valid_BHW)
        return self._standardized[level]

    def centered_maps(self, level: int) -> tuple[Tensor, Tensor]:
        """Return both maps of a level for directions: those of ``maps`` minus the centers, if there are any.

        Cells in padding hold the same in all images, and send no gradient.
        """
        student_BDHW, teacher_BEHW = self.maps(level)
        if self.centers is None:
            return student_BDHW, teacher_BEHW
        student_D = self.centers.student_LD[level, : student_BDHW.shape[1]]
        teacher_E = self.centers.teacher_LE[level, : teacher_BEHW.shape[1]]
        return student_BDHW - student_D[:, None, None], teacher_BEHW - teacher_E[:, None, None]

    @functools.cached_property
    def counted_LN(self) -> Tensor:
        """The levels on which each instance counts, bool; see ``counted_levels``."""
        return counted_levels(self.instances.boxes_N4, self.strides, min_cells=self.min_box_cells)

    def level_of_boxes(self, base_size_px: float) -> Tensor:
        """Return the level that each box belongs to, (N,); see ``box_masks.level_of_boxes``."""
        if base_size_px not in self._box_levels:
            boxes_N4 = self.instances.boxes_N4
            self._box_levels[base_size_px] = level_of_boxes(boxes_N4, self.strides, base_size_px=base_size_px)
        return self._box_levels[base_size_px]

    def local_weights(self, *, robust: bool) -> Tensor:
        """Return the weight of each instance on each level in the local terms, (L, N); 1 when not ``robust``."""
        return self.weights.local_LN if robust else torch.ones_like(self.weights.local_LN)

    def cell_weights(self, level: int, *, robust: bool) -> Tensor:
        """Return the weight of each cell of a level, 0 in padding; see ``box_masks.cell_weights``.

        Args:
            level: index into ``strides``.
            robust: whether cells inside boxes have the boxes' weights; else all have weight 1.

        Returns:
            (B, H, W).
        """
        stride = self.strides[level]
        batch, _, height, width = self.student.neck[stride].shape
        if not robust:
            weights_BHW = torch.ones(batch, height, width, device=self.weights.local_LN.device)
        else:
            weights_BHW = cell_weights(
                self.weights.local_LN[level], self.instances, stride=stride, size=(height, width)
            )
        return self.zero_padding(level, weights_BHW)

    def all_site_weights(self, *, robust: bool) -> Tensor:
        """Return the weight of each prediction site in a term that compares all of them.

        A site that is matched to an instance has that instance's weight, see ``site_weights``. Others have weight 1, or
        0 if they lie in the padding of the batch.

        Args:
            robust: whether the filter's weights count.

        Returns:
            (R,).
        """
        sites = self.student.prediction_sites
        weights_R = self.site_weights(robust=robust)
        others_R = torch.ones_like(weights_R) if sites.in_image is None else sites.in_image().to(weights_R.dtype)
        return torch.where(sites.positive_R, weights_R, others_R)

    def site_weights(self, *, robust: bool) -> Tensor:
        """Return the weight of each prediction site: its instance's mean over the levels on which it counts.

        Args:
            robust: whether the filter's weights count; else all sites have weight 1.

        Returns:
            (R,). Sites without an instance point at instance 0 and get its weight; ``positive_R`` leaves them out.
        """
        counted_LN = self.counted_LN
        weights_N = (self.local_weights(robust=robust) * counted_LN).sum(dim=0) / counted_LN.sum(dim=0)
        return torch.cat([weights_N, weights_N.new_zeros(1)])[self.student.prediction_sites.instance_R]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TermContext:
    """The detectors that a term is built for.

    Attributes:
        strides: the levels that both necks have, fine to coarse.
        student_channels: of the student's neck maps on these levels.
        teacher_channels: of the teacher's.
        score_kind: ``softmax`` or ``sigmoid``.
        base_size_px: the side in pixels from which a box belongs to stride 4 in the student; see ``Detector``.
        generator: the only source of random numbers for initial weights.
    """

    strides: tuple[int, ...]
    student_channels: tuple[int, ...]
    teacher_channels: tuple[int, ...]
    score_kind: str
    base_size_px: float
    generator: torch.Generator

    def for_term(self, name: str) -> TermContext:
        """Return a copy whose random numbers depend on the seed and the term's name alone."""
        seed = zlib.crc32(f"{self.generator.initial_seed()} {name}".encode())
        return dataclasses.replace(self, generator=torch.Generator().manual_seed(seed))

    def base_size(self, setting_px: float | None) -> float:
        """Return the size that a setting gives, or the student's when it gives none."""
        return self.base_size_px if setting_px is None else setting_px

    def adapters(self, adapter: str, *, term: str) -> nn.ModuleList:
        """Build an adapter per level; see ``build_adapters``."""
        return build_adapters(
            adapter,
            term=term,
            student_channels=self.student_channels,
            teacher_channels=self.teacher_channels,
            generator=self.generator,
        )


class DistillationTerm(Protocol):
    """A distillation loss. A term with parameters is an ``nn.Module``."""

    @property
    def needs_prototypes(self) -> bool:
        """True for a term that is left out while there are no prototypes."""
        ...

    def __call__(self, step: Step) -> Tensor:
        """Return the unweighted loss, a float32 scalar of at least 0, with gradient to student and parameters."""
        ...
