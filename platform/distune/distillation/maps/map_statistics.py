"""Brings the maps of both models to one scale, so that no level drowns the others in the terms that imitate maps.

Untrained coarse levels of a feature pyramid can be hundreds of times as large as those that see the objects. A
squared error then has hardly any other gradient than theirs, at any weight.

Shape legend: ``B`` batch, ``C`` channels of all levels, ``E`` channels of a level, ``H`` ``W`` a map, ``L`` levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

_NEWEST_SHARE = 0.1
"""Of the student's newest map in its figures: they remember some ten steps."""
_SMALLEST_SHARE = 1e-6
"""Of the mean square: a smaller variance counts as this much. What hardly varies is not blown up to noise."""


class PairStatistics(nn.Module):
    """Those of the student's and the teacher's maps.

    The teacher does not change, so its figures are over all steps; the student's follow it.

    Args:
        student_channels: of each level.
        teacher_channels: of each level.
        scale: see ``MapStatistics``.
    """

    def __init__(
        self, student_channels: Sequence[int], teacher_channels: Sequence[int], scale: Literal["level", "channel"]
    ) -> None:
        super().__init__()
        self.student = MapStatistics(student_channels, scale, smallest_share=_NEWEST_SHARE)
        self.teacher = MapStatistics(teacher_channels, scale)

    def take(self, level: int, student_BDHW: Tensor, teacher_BEHW: Tensor) -> tuple[Tensor, Tensor]:
        """Adds a step's maps of a level and gives them back standardised, the student's with gradient."""
        return self.student.take(level, student_BDHW), self.teacher.take(level, teacher_BEHW)


class MapStatistics(nn.Module):
    """Mean and variance of each channel over all maps so far; they are in the state dict.

    They are those of all cells of all maps taken together, merged after Chan, Golub and LeVeque, "Updating Formulae
    and a Pairwise Algorithm for Computing Sample Variances", 1979.

    Args:
        channels: of each level.
        scale: ``channel`` divides each channel by its own standard deviation; ``level`` all channels of a level by the
            root of their mean variance, which keeps how they compare.
        smallest_share: what the newest map counts for at least, beside all before it together: more than 0 where the
            maps change.
    """

    counts_L: Tensor
    means_C: Tensor
    variances_C: Tensor

    def __init__(
        self, channels: Sequence[int], scale: Literal["level", "channel"], *, smallest_share: float = 0.0
    ) -> None:
        super().__init__()
        self._channels = list(channels)
        self._scale = scale
        self._smallest_share = smallest_share
        self.register_buffer("counts_L", torch.zeros(len(self._channels)))
        self.register_buffer("means_C", torch.zeros(sum(self._channels)))
        self.register_buffer("variances_C", torch.zeros(sum(self._channels)))

    def take(self, level: int, map_BEHW: Tensor) -> Tensor:
        """Adds a map of a level, float32 (B, E, H, W), and gives it back standardised."""
        self.add(level, map_BEHW.detach())
        return self.standardise(level, map_BEHW)

    @torch.no_grad()
    def add(self, level: int, map_BEHW: Tensor) -> None:
        """Takes in a map of a level, float32 (B, E, H, W)."""
        mean_E, variance_E = self._of(level)
        cells = map_BEHW.numel() // map_BEHW.shape[1]
        share = (cells / (self.counts_L[level] + cells)).clamp(min=self._smallest_share)
        own_mean_E = map_BEHW.mean(dim=(0, 2, 3))
        own_variance_E = map_BEHW.var(dim=(0, 2, 3), correction=0)
        distance_E = own_mean_E - mean_E
        between_E = share * (1 - share) * distance_E.square()
        variance_E.copy_((1 - share) * variance_E + share * own_variance_E + between_E)
        mean_E += share * distance_E
        self.counts_L[level] += cells

    def standardise(self, level: int, map_BEHW: Tensor) -> Tensor:
        """The map with mean 0 and variance 1, by what was added so far; a gradient flows through the map alone."""
        mean_E, variance_E = (each.clone() for each in self._of(level))
        floor = _SMALLEST_SHARE * (mean_E.square() + variance_E).mean()
        scale_E = (variance_E if self._scale == "channel" else variance_E.mean().expand_as(variance_E)).clamp(min=floor)
        factor_E = torch.where(scale_E > 0, torch.where(scale_E > 0, scale_E, 1.0).rsqrt(), 0.0)
        return (map_BEHW - mean_E[:, None, None]) * factor_E[:, None, None]

    def _of(self, level: int) -> tuple[Tensor, Tensor]:
        return torch.split(self.means_C, self._channels)[level], torch.split(self.variances_C, self._channels)[level]
