"""The schedule of distillation: the factor on its weights, and the epochs that need new prototypes.

Epochs count from 1.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

Decay = Literal["linear", "cosine", "constant"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightSchedule:
    """The factor on all distillation weights, epoch by epoch.

    Distillation is active in the epochs ``start_after + 1`` to ``stop_after``.

    Attributes:
        decay: ``linear`` falls as ``1 - x``, ``cosine`` as ``(1 + cos(pi x)) / 2``, ``constant`` stays 1, where
            ``x = (epoch - 1 - start_after) / (stop_after - start_after)``.
        start_after: the number of epochs before the first one with distillation.
        stop_after: the last epoch with distillation.
    """

    decay: Decay
    start_after: int
    stop_after: int

    def factor(self, epoch: int) -> float:
        """Return the factor of an epoch, between 0 and 1; 0 in epochs without distillation."""
        if not self.start_after < epoch <= self.stop_after:
            return 0.0
        fraction = (epoch - 1 - self.start_after) / (self.stop_after - self.start_after)
        if self.decay == "linear":
            return 1 - fraction
        if self.decay == "cosine":
            return (1 + math.cos(math.pi * fraction)) / 2
        return 1.0

    def next_refresh(self, epoch: int, *, made_for: int | None, refresh_epochs: int) -> int | None:
        """Return the first epoch, ``epoch`` or later, that needs new prototypes at its start.

        Args:
            epoch: the first epoch to consider.
            made_for: the epoch that the current prototypes were made for; None before the first ones.
            refresh_epochs: the number of epochs that prototypes are used for; 0 means all.

        Returns:
            None when no epoch with distillation needs new ones.
        """
        if made_for is None:
            due = max(epoch, self.start_after + 1)
        elif refresh_epochs == 0:
            return None
        else:
            due = max(epoch, made_for + refresh_epochs)
        return due if self.factor(due) > 0 else None
