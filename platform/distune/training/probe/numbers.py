"""The numbers of a probe, and how far two plays of them are apart. Pure functions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

Numbers = Mapping[str, float]
"""Names to losses, lengths of gradients and the like, of one epoch. What is only measured, and trains nothing, has a
name that begins with ``MEASURED``."""

MEASURED = "measured/"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """A number that is not the same in two plays.

    Attributes:
        name: such as ``loss/global_knowledge``.
        epoch: the first in which it differs, from 1.
        first, second: its values; NaN where a play does not have it.
    """

    name: str
    epoch: int
    first: float
    second: float

    @property
    def share(self) -> float:
        """By what share of the larger value they differ, 0 to 1 for equal signs; 1 when one of them is missing."""
        return apart(self.first, self.second)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary; numbers that are not finite become None, as JSON has no word for them."""
        first, second = (value if math.isfinite(value) else None for value in (self.first, self.second))
        return {"name": self.name, "epoch": self.epoch, "first": first, "second": second, "share": self.share}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two plays side by side.

    Attributes:
        moved: what moved most in the first epoch in which a number that trains moved; None when none did.
        measured: the same of what is only measured.
    """

    moved: Change | None = None
    measured: Change | None = None


def apart(first: float, second: float) -> float:
    """By what share of the larger one two numbers differ. Two that are both not finite do not differ."""
    if not (math.isfinite(first) or math.isfinite(second)):
        return 0.0
    if not (math.isfinite(first) and math.isfinite(second)):
        return 1.0
    larger = max(abs(first), abs(second))
    return 0.0 if larger == 0 else abs(first - second) / larger


def compare(first: Iterable[Numbers], second: Iterable[Numbers], *, tolerance: float) -> Comparison:
    """Go through two plays side by side, epoch by epoch, up to the first epoch that shows a difference.

    Args:
        first, second: the plays, of equal length. They are not read any further than needed.
        tolerance: shares up to this one are noise.
    """
    measured: Change | None = None
    for epoch, (one, other) in enumerate(zip(first, second, strict=True), start=1):
        moved, measured_now = (
            _largest(one, other, epoch=epoch, tolerance=tolerance, is_measured=is_measured)
            for is_measured in (False, True)
        )
        measured = measured or measured_now
        if moved is not None:
            return Comparison(moved=moved, measured=measured)
    return Comparison(measured=measured)


def noise(first: Iterable[Numbers], second: Iterable[Numbers]) -> float:
    """The largest share by which two plays of the same settings differ in what trains."""
    shares = (
        apart(one[name], other.get(name, math.nan))
        for one, other in zip(first, second, strict=True)
        for name in one
        if not name.startswith(MEASURED)
    )
    return max(shares, default=0.0)


def _largest(one: Numbers, other: Numbers, *, epoch: int, tolerance: float, is_measured: bool) -> Change | None:
    names = [name for name in dict.fromkeys([*one, *other]) if name.startswith(MEASURED) == is_measured]
    changes = [
        Change(name=name, epoch=epoch, first=one.get(name, math.nan), second=other.get(name, math.nan))
        for name in names
    ]
    moved = [change for change in changes if change.share > tolerance]
    return max(moved, key=lambda change: change.share, default=None)
