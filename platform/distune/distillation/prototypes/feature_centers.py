"""Centers: running means that are subtracted from features before their directions are compared.

Features of a level often share a large common part: then all of them point the same way, and their cosines say little.

Shape legend: ``B`` batch, ``L`` levels, ``N`` instances, ``C`` classes, ``G`` groups of values (the classes, or one for
all cells), ``D`` student channels, ``E`` teacher channels, ``F`` channels of either model, ``H`` ``W`` a map.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from distune.collectives import num_processes, sum_over_processes
from distune.detectors.taps import View
from distune.distillation.maps.padding import valid_cells
from distune.distillation.maps.pooling import PooledFeatures
from distune.distillation.maps.running_mean import STUDENT_UPDATE_FRACTION, newest_fraction

CenterKind = Literal["maps", "instances"]


@dataclasses.dataclass(frozen=True)
class Centers:
    """The centers of both models on each level, without gradient.

    Attributes:
        student_LD: the student's.
        teacher_LE: the teacher's.
    """

    student_LD: Tensor
    teacher_LE: Tensor


class GroupMeans(nn.Module):
    """Running means of groups of values on each level; the center of a level is the mean of its groups' means.

    Args:
        num_levels: L.
        num_groups: G.
        channels: F.
        min_update_fraction: the smallest weight of the newest values of a group beside all earlier ones; more than 0
            for values that change with training.
    """

    means_LGF: Tensor
    counts_LG: Tensor

    def __init__(self, *, num_levels: int, num_groups: int, channels: int, min_update_fraction: float = 0.0) -> None:
        super().__init__()
        self._min_update_fraction = min_update_fraction
        self.register_buffer("means_LGF", torch.zeros(num_levels, num_groups, channels))
        self.register_buffer("counts_LG", torch.zeros(num_levels, num_groups))

    @property
    def centers_LF(self) -> Tensor:
        """The mean of the means of the groups that have values, (L, F); 0 on a level without any."""
        has_values_LG1 = (self.counts_LG > 0)[:, :, None]
        return (self.means_LGF * has_values_LG1).sum(dim=1) / has_values_LG1.sum(dim=1).clamp(min=1)

    def update(self, means_LGF: Tensor, counts_LG: Tensor) -> None:
        """Add the means and the numbers of new values. Means that are not finite are skipped."""
        finite_LG = means_LGF.isfinite().all(dim=2)
        counts_LG = torch.where(finite_LG, counts_LG, 0).to(self.counts_LG.dtype)
        fraction_LG = newest_fraction(self.counts_LG, counts_LG, minimum=self._min_update_fraction)
        distance_LGF = torch.where(finite_LG[:, :, None], means_LGF - self.means_LGF, 0.0)
        self.means_LGF += fraction_LG[:, :, None] * distance_LGF
        self.counts_LG += counts_LG

    def reset(self) -> None:
        """Remove all values."""
        self.means_LGF.zero_()
        self.counts_LG.zero_()


class FeatureCenters(nn.Module):
    """The centers of both models, which are in the state dict.

    The teacher does not change, so its centers are means over all steps; the student's follow its training.

    Args:
        kind: ``maps`` takes the mean over all cells that belong to an image; ``instances`` the mean over the classes'
            means of the pooled features of the instances that count on a level. A mean over all instances would be
            that of the most frequent class, and what would be left of this class is noise.
        strides: of the levels, fine to coarse.
        num_classes: without background.
        student_channels: D, of the widest level; narrower ones are padded with zeros.
        teacher_channels: E.
    """

    def __init__(
        self,
        kind: CenterKind,
        strides: tuple[int, ...],
        *,
        num_classes: int,
        student_channels: int,
        teacher_channels: int,
    ) -> None:
        super().__init__()
        self.kind: CenterKind = kind
        self._strides = strides
        self._num_classes = num_classes
        shape = {"num_levels": len(strides), "num_groups": num_classes if kind == "instances" else 1}
        self.student = GroupMeans(**shape, channels=student_channels, min_update_fraction=STUDENT_UPDATE_FRACTION)
        self.teacher = GroupMeans(**shape, channels=teacher_channels)

    @torch.no_grad()
    def update(
        self, student: View, teacher: View, features: PooledFeatures, labels_N: Tensor, counted_LN: Tensor
    ) -> None:
        """Add a training batch. Waits for no device.

        Args:
            student: the student's maps.
            teacher: the teacher's maps, in its own frame.
            features: of the instances of the whole batch, also of the parts of other processes.
            labels_N: their classes, 1 to C.
            counted_LN: bool, the levels on which each instance counts.
        """
        if self.kind == "instances":
            self._update_classes(features, labels_N, counted_LN)
        else:
            for model, view in ((self.student, student), (self.teacher, teacher)):
                means = _means_of_maps(view, self._strides, model.means_LGF.shape[2])
                model.update(*_of_whole_batch(*means))

    @torch.no_grad()
    def update_from_feature_pass(self, features: PooledFeatures, labels_N: Tensor, counted_LN: Tensor) -> None:
        """Add the instances of a feature pass. The student's replace its earlier ones: all are of its present weights.

        Args:
            features: of the instances.
            labels_N: their classes, 1 to C.
            counted_LN: bool, the levels on which each counts.
        """
        assert self.kind == "instances", "a feature pass may have no maps of the teacher"
        self.student.reset()
        self._update_classes(features, labels_N, counted_LN)

    @property
    def current(self) -> Centers:
        """The centers so far."""
        return Centers(self.student.centers_LF, self.teacher.centers_LF)

    def center(self, features: PooledFeatures) -> PooledFeatures:
        """Return the features minus the centers so far, the student's with gradient."""
        now = self.current
        return PooledFeatures(
            features.student_LND - now.student_LD[:, None], features.teacher_LNE - now.teacher_LE[:, None]
        )

    def _update_classes(self, features: PooledFeatures, labels_N: Tensor, counted_LN: Tensor) -> None:
        class_C = torch.arange(1, self._num_classes + 1, device=labels_N.device)
        counted_LCN = counted_LN[:, None] & (labels_N == class_C[:, None])
        self.student.update(*_means_of_classes(features.student_LND, counted_LCN))
        self.teacher.update(*_means_of_classes(features.teacher_LNE, counted_LCN))


def _means_of_classes(features_LNF: Tensor, counted_LCN: Tensor) -> tuple[Tensor, Tensor]:
    counts_LC = counted_LCN.sum(dim=2)
    sums_LCF = counted_LCN.to(features_LNF.dtype) @ features_LNF.detach()
    return sums_LCF / counts_LC.clamp(min=1)[:, :, None], counts_LC


def _means_of_maps(view: View, strides: tuple[int, ...], channels: int) -> tuple[Tensor, Tensor]:
    means: list[Tensor] = []
    counts: list[Tensor] = []
    for stride in strides:
        map_BFHW = view.neck[stride].detach().float()
        size = (map_BFHW.shape[-2], map_BFHW.shape[-1])
        valid_BHW = valid_cells(view.frame, stride=stride, size=size, device=map_BFHW.device)
        if valid_BHW is None:
            count = map_BFHW.new_full((), map_BFHW.numel() // map_BFHW.shape[1])
        else:
            count = valid_BHW.sum().to(map_BFHW.dtype)
            map_BFHW = torch.where(valid_BHW[:, None], map_BFHW, 0.0)
        mean_F = map_BFHW.sum(dim=(0, 2, 3)) / count
        means.append(functional.pad(mean_F, (0, channels - mean_F.shape[0])))
        counts.append(count)
    return torch.stack(means)[:, None], torch.stack(counts)[:, None]


def _of_whole_batch(means_LGF: Tensor, counts_LG: Tensor) -> tuple[Tensor, Tensor]:
    """Combine the means of the processes that share a batch, each of at least one value."""
    if num_processes() == 1:
        return means_LGF, counts_LG
    total_LG = sum_over_processes(counts_LG)
    return sum_over_processes(means_LGF * (counts_LG / total_LG)[:, :, None]), total_LG
