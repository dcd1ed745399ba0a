"""The number of seeds that would show a gain, with a stated probability and a range."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

from distune.evidence.gain import ERROR, MIN_SEEDS, Gain

POWER = 0.8
"""Probability with which the number of seeds shows a gain of the assumed size."""

_MOST_SEEDS = 200
_QUARTILE = 0.674  # of the normal distribution


@dataclasses.dataclass(frozen=True)
class SeedsNeeded:
    """The number of seeds that would show a gain.

    Attributes:
        gain: the assumed gain: the estimate, shrunk towards zero by its own uncertainty.
        expected: seeds for it; None where no number up to 200 is enough.
        fewest, most: seeds for a gain at the upper and the lower quartile of its uncertainty; None as above.
    """

    gain: float
    expected: int | None
    fewest: int | None
    most: int | None


def seeds_needed(gain: Gain, *, error: float | None = None) -> SeedsNeeded:
    """Return how many seeds would show the gain with a probability of 80%.

    An estimate that is just not shown is, more often than not, larger than the true gain. It is shrunk as by James and
    Stein: by the factor ``1 - v / m^2`` for an estimate ``m`` with variance ``v``, at least 0.

    Args:
        gain: the estimate.
        error: nominal error of the interval that must exclude zero. None for the interval that follows that of the
            gain, over more seeds: it has a smaller error, which depends on the number of seeds
            (``distune.evidence.repeated_analyses``).

    Returns:
        The numbers of seeds. With one seed the variance between seeds is unknown, and all are ``MIN_SEEDS``.
    """
    if gain.num_seeds < 2:
        return SeedsNeeded(gain.mean, MIN_SEEDS, MIN_SEEDS, MIN_SEEDS)
    variance = gain.error_seeds**2 + gain.error_images**2
    shrunk = gain.mean * max(0.0, 1.0 - variance / gain.mean**2) if gain.mean else 0.0
    spread = _QUARTILE * math.sqrt(variance)
    sizes = (abs(shrunk), abs(shrunk) + spread, abs(shrunk) - spread)
    numbers = range(MIN_SEEDS if error is not None else gain.num_seeds + 1, _MOST_SEEDS + 1)
    errors = _next_errors(gain, numbers) if error is None else [error] * len(numbers)
    expected, fewest, most = (_num_seeds(gain, size, zip(numbers, errors, strict=True)) for size in sizes)
    return SeedsNeeded(shrunk, expected, fewest, most)


def _next_errors(gain: Gain, numbers: Iterable[int]) -> list[float]:
    """Return the nominal error of the interval that follows that of a gain, for each number of seeds."""
    from distune.evidence.repeated_analyses import FIRST_ERROR, Analysis, further_error  # loads numpy

    if gain.nominal_error >= ERROR:  # an interval on its own, not one of a confirmation
        return [FIRST_ERROR for _ in numbers]
    last = Analysis(gain.num_seeds, gain.nominal_error)
    return [further_error(last, number) for number in numbers]


def _num_seeds(gain: Gain, size: float, analyses: Iterable[tuple[int, float]]) -> int | None:
    """Return the first number of seeds with enough power for a gain of some size, None where none is enough.

    Args:
        gain: the estimate.
        size: the assumed gain.
        analyses: numbers of seeds, ascending, and the nominal error of an interval over each.

    Returns:
        The number of seeds.
    """
    if size <= 0:
        return None
    return next((number for number, error in analyses if _power(gain, size, number, error) >= POWER), None)


def _power(gain: Gain, size: float, num_seeds: int, error: float) -> float:
    """Return the probability that the interval over this many seeds excludes zero on the right side."""
    from scipy import special  # slow to load, and only needed here

    of_seeds = gain.error_seeds**2 * gain.num_seeds / num_seeds
    of_images = gain.error_images**2
    variance = of_seeds + of_images
    if variance == 0.0:
        return 1.0
    squares = (
        (of_seeds, float(special.stdtrit(num_seeds - 1, 1 - error / 2)) ** 2),
        (of_images, float(special.stdtrit(max(1, gain.num_images - 1), 1 - error / 2)) ** 2),
    )
    # The interval's quantile, relative to the standard error, and the degrees of freedom of the latter (Satterthwaite).
    quantile = math.sqrt(sum(part * square for part, square in squares) / variance)
    per_degree = of_seeds**2 / (num_seeds - 1) + of_images**2 / max(1, gain.num_images - 1)
    degrees = variance**2 / per_degree
    return 1.0 - float(special.nctdtr(degrees, size / math.sqrt(variance), quantile))
