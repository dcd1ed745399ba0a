"""Statistics that bring the maps of both models to one scale, so that no level outweighs the others in imitation.

Untrained coarse levels of a feature pyramid can be hundreds of times as large as the levels of the objects. The
gradient of a squared error is then almost only theirs, at any weight.

Shape legend: ``B`` batch, ``C`` channels of all levels, ``E`` channels of a level, ``H`` ``W`` a map, ``L`` levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from distune.collectives import gather_rows, num_processes
from distune.distillation.maps.running_mean import STUDENT_UPDATE_FRACTION, newest_fraction

Scale = Literal["level", "channel"]

_MIN_VARIANCE_FRACTION = 1e-6
"""Of the mean square: a smaller variance counts as this much, so that nearly constant maps are not scaled to noise."""


class PairStatistics(nn.Module):
    """The statistics of the student's and the teacher's maps.

    The teacher does not change, so its statistics are over all steps; the student's follow its training.

    Args:
        student_channels: of each level.
        teacher_channels: of each level.
        scale: see ``MapStatistics``.
    """

    def __init__(self, student_channels: Sequence[int], teacher_channels: Sequence[int], scale: Scale) -> None:
        super().__init__()
        self.student = MapStatistics(student_channels, scale, min_update_fraction=STUDENT_UPDATE_FRACTION)
        self.teacher = MapStatistics(teacher_channels, scale)

    def update_and_standardize(
        self, level: int, student_BDHW: Tensor, teacher_BEHW: Tensor, valid_BHW: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Add a step's maps of a level and return them standardized, the student's with gradient.

        Args:
            level: index of the level.
            student_BDHW: the student's map.
            teacher_BEHW: the teacher's at the same cells.
            valid_BHW: the cells that count, at least one; None counts all.

        Returns:
            Both maps, also of the cells that do not count.
        """
        return (
            self.student.update_and_standardize(level, student_BDHW, valid_BHW),
            self.teacher.update_and_standardize(level, teacher_BEHW, valid_BHW),
        )


class MapStatistics(nn.Module):
    """Running mean and variance of each channel over the cells of all maps so far; they are in the state dict.

    Updated after Chan, Golub and LeVeque; see ``running_mean``.

    Args:
        channels: of each level.
        scale: ``channel`` divides each channel by its standard deviation; ``level`` divides all channels of a level by
            the root of their mean variance, which keeps their proportions.
        min_update_fraction: the smallest weight of the newest map beside all earlier ones together; more than 0 for
            maps that change with training.
    """

    counts_L: Tensor
    means_C: Tensor
    variances_C: Tensor

    def __init__(self, channels: Sequence[int], scale: Scale, *, min_update_fraction: float = 0.0) -> None:
        super().__init__()
        self._channels = list(channels)
        self._scale = scale
        self._min_update_fraction = min_update_fraction
        self.register_buffer("counts_L", torch.zeros(len(self._channels)))
        self.register_buffer("means_C", torch.zeros(sum(self._channels)))
        self.register_buffer("variances_C", torch.zeros(sum(self._channels)))

    def update_and_standardize(self, level: int, map_BEHW: Tensor, valid_BHW: Tensor | None = None) -> Tensor:
        """Add the valid cells of a level's map, float32 (B, E, H, W), and return the map standardized."""
        self.update(level, map_BEHW.detach(), valid_BHW)
        return self.standardize(level, map_BEHW)

    @torch.no_grad()
    def update(self, level: int, map_BEHW: Tensor, valid_BHW: Tensor | None = None) -> None:
        """Add a map of a level, float32 (B, E, H, W): its valid cells, at least one; None adds all."""
        mean_E, variance_E = self._views(level)
        cells, batch_mean_E, batch_variance_E = _of_whole_batch(*_moments(map_BEHW, valid_BHW))
        fraction = newest_fraction(self.counts_L[level], cells, minimum=self._min_update_fraction)
        distance_E = batch_mean_E - mean_E
        between_E = fraction * (1 - fraction) * distance_E.square()
        variance_E.copy_((1 - fraction) * variance_E + fraction * batch_variance_E + between_E)
        mean_E += fraction * distance_E
        self.counts_L[level] += cells

    def standardize(self, level: int, map_BEHW: Tensor) -> Tensor:
        """Return the map at mean 0 and variance 1 by the statistics so far; gradient flows through the map alone."""
        mean_E, variance_E = (each.clone() for each in self._views(level))
        floor = _MIN_VARIANCE_FRACTION * (mean_E.square() + variance_E).mean()
        scale_E = (variance_E if self._scale == "channel" else variance_E.mean().expand_as(variance_E)).clamp(min=floor)
        factor_E = torch.where(scale_E > 0, torch.where(scale_E > 0, scale_E, 1.0).rsqrt(), 0.0)
        return (map_BEHW - mean_E[:, None, None]) * factor_E[:, None, None]

    def _views(self, level: int) -> tuple[Tensor, Tensor]:
        return torch.split(self.means_C, self._channels)[level], torch.split(self.variances_C, self._channels)[level]


def _moments(map_BEHW: Tensor, valid_BHW: Tensor | None) -> tuple[int | Tensor, Tensor, Tensor]:
    """Return the number of valid cells, and mean and variance of each channel over them."""
    if valid_BHW is None:
        cells = map_BEHW.numel() // map_BEHW.shape[1]
        return cells, map_BEHW.mean(dim=(0, 2, 3)), map_BEHW.var(dim=(0, 2, 3), correction=0)
    count = valid_BHW.sum()
    valid_B1HW = valid_BHW[:, None]
    mean_E = torch.where(valid_B1HW, map_BEHW, 0.0).sum(dim=(0, 2, 3)) / count
    squared_BEHW = (map_BEHW - mean_E[:, None, None]).square()
    return count, mean_E, torch.where(valid_B1HW, squared_BEHW, 0.0).sum(dim=(0, 2, 3)) / count


def _of_whole_batch(cells: int | Tensor, mean_E: Tensor, variance_E: Tensor) -> tuple[int | Tensor, Tensor, Tensor]:
    """Combine the moments of the processes that share a batch, after Chan, Golub and LeVeque."""
    if num_processes() == 1:
        return cells, mean_E, variance_E
    own_X = torch.cat([mean_E.new_full((1,), 1.0) * cells, mean_E, variance_E])
    of_each_PX = gather_rows(own_X[None])
    cells_P1, means_PE, variances_PE = torch.split(of_each_PX, [1, len(mean_E), len(mean_E)], dim=1)
    fraction_P1 = cells_P1 / cells_P1.sum()
    total_mean_E = (fraction_P1 * means_PE).sum(dim=0)
    between_PE = (means_PE - total_mean_E).square()
    return cells_P1.sum(), total_mean_E, (fraction_P1 * (variances_PE + between_PE)).sum(dim=0)
