"""Means over an epoch, added up on the device and copied to the host once at its end."""

from __future__ import annotations

import torch
from torch import Tensor

from distune.collectives import sum_over_processes


class EpochMeans:
    """Named means. ``update`` waits for no device; ``compute`` copies everything to the host at once."""

    def __init__(self) -> None:
        self._totals: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor] = {}

    def update(self, name: str, total: Tensor, count: Tensor | int = 1) -> None:
        """Add values that are already summed.

        Args:
            name: of the mean.
            total: a scalar, the sum of the values.
            count: the number of values.
        """
        total = total.detach().double()
        counted = count.double() if isinstance(count, Tensor) else torch.full_like(total, count)
        if name in self._totals:
            total, counted = self._totals[name] + total, self._counts[name] + counted
        self._totals[name], self._counts[name] = total, counted

    def compute(self) -> dict[str, float]:
        """Return the means of all names with at least one value."""
        if not self._totals:
            return {}
        both_2N = torch.stack([torch.stack(list(self._totals.values())), torch.stack(list(self._counts.values()))])
        both_2N = sum_over_processes(both_2N)
        totals, counts = both_2N.tolist()
        return {
            name: total / count for name, total, count in zip(self._totals, totals, counts, strict=True) if count > 0
        }

    def reset(self) -> None:
        """Remove all values."""
        self._totals.clear()
        self._counts.clear()
