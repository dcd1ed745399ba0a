"""Comparison of two replays, epoch by epoch: the largest change, and the noise. Pure functions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

EpochValues = Mapping[str, float]
"""Losses, gradient norms and the like of one epoch, by name. Values that are only measured, and do not enter training,
have names that begin with ``MEASURED``."""

MEASURED = "measured/"

WEAK_FRACTION = 1e-3
"""Relative differences below this are a weak effect: hardly any."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """A value that differs between two replays.

    Attributes:
        name: such as ``loss/global_knowledge``.
        epoch: the first epoch in which it differs, from 1.
        first: its value in the first replay; NaN if it has none.
        second: its value in the second replay; NaN if it has none.
    """

    name: str
    epoch: int
    first: float
    second: float

    @property
    def fraction(self) -> float:
        """The relative difference, see ``relative_difference``."""
        return relative_difference(self.first, self.second)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary, with None for values that are not finite."""
        first, second = (value if math.isfinite(value) else None for value in (self.first, self.second))
        return {"name": self.name, "epoch": self.epoch, "first": first, "second": second, "fraction": self.fraction}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """The result of comparing two replays.

    Attributes:
        change: the largest change in the first epoch in which a value of training differs by ``WEAK_FRACTION`` or more;
            if all differences are smaller, the largest of all epochs; None if none differs.
        measured: the same for values that are only measured.
    """

    change: Change | None = None
    measured: Change | None = None


def relative_difference(first: float, second: float) -> float:
    """Return the difference as a fraction of the larger magnitude; 1 if one value is not finite, 0 if both are not."""
    if not (math.isfinite(first) or math.isfinite(second)):
        return 0.0
    if not (math.isfinite(first) and math.isfinite(second)):
        return 1.0
    larger = max(abs(first), abs(second))
    return 0.0 if larger == 0 else abs(first - second) / larger


def compare(first: Iterable[EpochValues], second: Iterable[EpochValues], *, tolerance: float) -> Comparison:
    """Compare two replays up to the first epoch in which they differ by more than a weak effect.

    Args:
        first: a replay; it is not consumed further than needed.
        second: a replay of equal length.
        tolerance: relative differences up to this one are noise.

    Returns:
        The largest change, if any.
    """
    weak: Change | None = None
    measured: Change | None = None
    for epoch, (one, other) in enumerate(zip(first, second, strict=True), start=1):
        change, measured_now = (
            _largest(one, other, epoch=epoch, tolerance=tolerance, is_measured=is_measured)
            for is_measured in (False, True)
        )
        measured = measured or measured_now
        if change is not None and change.fraction >= WEAK_FRACTION:
            return Comparison(change=change, measured=measured)
        weak = larger(weak, change)
    return Comparison(change=weak, measured=measured)


def larger(first: Change | None, second: Change | None) -> Change | None:
    """Return the change of the larger fraction, the first of equals; None if there is none."""
    changes = [change for change in (first, second) if change is not None]
    return max(changes, key=lambda change: change.fraction, default=None)


def noise(first: Iterable[EpochValues], second: Iterable[EpochValues]) -> float:
    """Return the largest relative difference in values of training between two replays of equal settings."""
    differences = (
        relative_difference(one[name], other.get(name, math.nan))
        for one, other in zip(first, second, strict=True)
        for name in one
        if not name.startswith(MEASURED)
    )
    return max(differences, default=0.0)


def _largest(one: EpochValues, other: EpochValues, *, epoch: int, tolerance: float, is_measured: bool) -> Change | None:
    names = [name for name in dict.fromkeys([*one, *other]) if name.startswith(MEASURED) == is_measured]
    changes = [
        Change(name=name, epoch=epoch, first=one.get(name, math.nan), second=other.get(name, math.nan))
        for name in names
    ]
    return max(
        (change for change in changes if change.fraction > tolerance), key=lambda change: change.fraction, default=None
    )
