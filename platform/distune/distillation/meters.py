"""Means over an epoch, added up on the device and read once at its end."""

from __future__ import annotations

import torch
from torch import Tensor


class EpochMeans:
    """Named means. Adding waits for no device; ``read`` copies everything to the host at once."""

    def __init__(self) -> None:
        self._totals: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor] = {}

    def add(self, name: str, total: Tensor, count: Tensor | int = 1) -> None:
        """Adds values that were summed up already.

        Args:
            name: of the mean.
            total: a scalar, the sum of the values.
            count: how many values.
        """
        total = total.detach().double()
        counted = count.double() if isinstance(count, Tensor) else torch.full_like(total, count)
        if name in self._totals:
            total, counted = self._totals[name] + total, self._counts[name] + counted
        self._totals[name], self._counts[name] = total, counted

    def read(self) -> dict[str, float]:
        """The means of what was added at least once, and forgets them."""
        if not self._totals:
            return {}
        both_2N = torch.stack([torch.stack(list(self._totals.values())), torch.stack(list(self._counts.values()))])
        totals, counts = both_2N.tolist()
        names = list(self._totals)
        self.forget()
        return {name: total / count for name, total, count in zip(names, totals, counts, strict=True) if count > 0}

    def forget(self) -> None:
        """Starts anew."""
        self._totals.clear()
        self._counts.clear()
