"""The next step after a confirmation without a verdict: how many seeds would show the gain."""

from __future__ import annotations

from distune.evidence.confirmation_result import ConfirmationResult
from distune.evidence.gain import MIN_SEEDS, Verdict
from distune.evidence.gain_text import suggest_next_step
from distune.evidence.power import POWER, SeedsNeeded, seeds_needed

_LEAST_ERROR = 5e-6
"""Nominal error of an interval when nothing is left of the 5%: the least that the simulation of a level can tell."""


def next_step(result: ConfirmationResult) -> str | None:
    """Return the next step; the number of seeds that it names is for the level that the next interval has."""
    gain = result.gain
    is_open = gain.verdict is Verdict.NOT_SHOWN and gain.num_teachers == 1 and gain.num_seeds >= MIN_SEEDS
    needed = _seeds_needed(result) if is_open and gain.mean > 0 else None
    if needed is None or needed.gain <= 0:
        return suggest_next_step(gain)
    size = f"a gain of {needed.gain:+.1f} {gain.metric} (the estimate, shrunk by its uncertainty)"
    if needed.expected is None:
        advice = f"more seeds would hardly show {size}"
    else:
        advice = f"about {needed.expected} seeds would show {size} with a probability of {POWER:.0%}"
    if result.max_seeds is not None and gain.num_seeds < result.max_seeds:  # runs that failed are tried again
        return advice
    return f"the intervals so far have used up nearly all of the 5%, so a further one is very wide: {advice}"


def _following_error(result: ConfirmationResult, num_seeds: int) -> float | None:
    """Return roughly the nominal error of an interval that would follow a result without a verdict.

    A plan that ends without a verdict has used up the 5%: an interval over more seeds than it had is very wide.

    Args:
        result: of a confirmation.
        num_seeds: of the interval, more than the result has.

    Returns:
        The nominal error. None after the first and the second of intervals without a plan, where the gain alone tells
        it (``distune.evidence.power``).
    """
    if result.max_seeds is not None:
        return result.gain.nominal_error if num_seeds <= result.max_seeds else _LEAST_ERROR
    if result.num_analyses <= 2:
        return None
    from distune.evidence.repeated_analyses import ERROR, FIRST_ERROR  # loads numpy

    # At least: a plan has left nothing, and each interval without one half of what was left before.
    return max(_LEAST_ERROR, (ERROR - FIRST_ERROR) * 0.5**result.num_analyses)


def _seeds_needed(result: ConfirmationResult) -> SeedsNeeded | None:
    """Return how many seeds would show the gain; None where the gain alone tells it."""
    gain, last = result.gain, result.max_seeds
    error = _following_error(result, gain.num_seeds + 1)
    needed = None if error is None else seeds_needed(gain, error=error)
    if needed is None or last is None or (needed.expected is not None and needed.expected <= last):
        return needed
    return seeds_needed(gain, error=_following_error(result, last + 1))
