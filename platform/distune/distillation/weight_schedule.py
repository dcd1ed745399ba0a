"""How strongly distillation acts in an epoch. Pure arithmetic on epochs counted from 0."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

Decay = Literal["linear", "cosine", "constant"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
    """The factor on all distillation weights, epoch by epoch.

    Attributes:
        decay: ``linear`` falls as ``1 - share``, ``cosine`` as ``(1 + cos(pi share)) / 2``, ``constant`` stays 1, where
            ``share = (epoch - start_epoch) / (stop_epoch - start_epoch)``.
        start_epoch: the first epoch with distillation.
        stop_epoch: the first epoch without it again.
    """

    decay: Decay
    start_epoch: int
    stop_epoch: int

    def factor(self, epoch: int) -> float:
        """Between 0 and 1; 0 outside ``start_epoch`` to ``stop_epoch``."""
        if not self.start_epoch <= epoch < self.stop_epoch:
            return 0.0
        share = (epoch - self.start_epoch) / (self.stop_epoch - self.start_epoch)
        if self.decay == "linear":
            return 1 - share
        if self.decay == "cosine":
            return (1 + math.cos(math.pi * share)) / 2
        return 1.0

    def next_refresh(self, epoch: int, *, made_for: int | None, refresh_epochs: int) -> int | None:
        """The first epoch, ``epoch`` or later, that needs new prototypes at its start.

        Args:
            epoch: where to look from.
            made_for: the epoch that the present prototypes were made for; None when there are none.
            refresh_epochs: how many epochs prototypes serve; 0 for ever.

        Returns:
            None when no epoch with distillation needs new ones.
        """
        if made_for is None:
            due = max(epoch, self.start_epoch)
        elif refresh_epochs == 0:
            return None
        else:
            due = max(epoch, made_for + refresh_epochs)
        return due if self.factor(due) > 0 else None
