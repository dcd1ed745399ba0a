"""The p value of a gain, from the distribution of its interval, and Holm's correction for several comparisons."""

from __future__ import annotations

from collections.abc import Sequence

from distune.evidence.gain import Gain, half_width

SMALLEST = 1e-12
"""Smallest p value that is computed: smaller ones are returned as this."""
_STEPS = 60


def p_value(gain: Gain) -> float:
    """Return the two-sided p value of a true gain of zero.

    It is the nominal error at which the interval of the gain just touches zero, found by bisection. So it is below 5%
    where the 95% interval excludes zero, and equals the p value of Student's paired t test where only seeds vary.

    Args:
        gain: over at least 2 seeds; with one seed its interval covers the images alone, and so does the p value.

    Returns:
        The p value, at least ``SMALLEST``, at most 1.
    """

    def excludes_zero(error: float) -> bool:
        half = half_width(
            gain.error_seeds**2,
            gain.error_images**2,
            num_seeds=gain.num_units,
            num_images=gain.num_images,
            error=error,
        )
        return half < abs(gain.mean)

    if not excludes_zero(1.0):  # both are zero
        return 1.0
    low, high = SMALLEST, 1.0
    if excludes_zero(low):
        return low
    for _ in range(_STEPS):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if excludes_zero(middle) else (middle, high)
    return high


def holm_adjusted(p_values: Sequence[float]) -> list[float]:
    """Adjust the p values of a family of comparisons.

    Step-down procedure of Holm, Scandinavian Journal of Statistics 6, 1979: the smallest of ``m`` p values is
    multiplied by ``m``, the next by ``m - 1``, and so on, and none becomes smaller than the one before. If no arm has a
    gain, any adjusted value is below 5% with a probability of at most 5%, however the comparisons depend on each other.

    Args:
        p_values: of all comparisons that were made.

    Returns:
        The adjusted values, in the given order, at most 1.
    """
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(1.0, largest)
    return adjusted
