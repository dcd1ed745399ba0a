"""The nominal error of the next interval of a confirmation, given those that were computed before."""

from __future__ import annotations

from collections.abc import Sequence

from distune.evidence.confirmation_result import AnalysisRecord
from distune.evidence.repeated_analyses import Analysis, planned_error, unplanned_error

_FEWEST_SEEDS = 2
"""With one seed there is no interval over seeds, so nothing is analyzed."""


def nominal_error(previous: Sequence[AnalysisRecord], num_seeds: int, plan: tuple[int, int] | None) -> float:
    """Return the nominal error of an interval.

    All intervals of a trial together miss the true gain in at most 5% of cases.

    Args:
        previous: intervals of the same trial, metric and split, by number of seeds.
        num_seeds: of the interval.
        plan: first and last number of seeds of a plan to analyze after each seed; None for a single analysis.

    Returns:
        The nominal error: that on record for a number of seeds that was analyzed before.
    """
    known = next((each for each in previous if each.num_seeds == num_seeds), None)
    if known is not None:
        return known.error
    if any(each.num_seeds > num_seeds for each in previous):  # such as when a run has to be trained again
        return min(each.error for each in previous) / 2
    if plan is None:
        return unplanned_error(_analyses(previous), max(_FEWEST_SEEDS, num_seeds))
    of_plan = next((each for each in previous if each.plan == plan), None)
    if of_plan is not None:
        return of_plan.error
    first = max([_FEWEST_SEEDS, plan[0], *(each.num_seeds + 1 for each in previous)])
    return planned_error(_analyses(previous), range(first, plan[1] + 1))


def _analyses(records: Sequence[AnalysisRecord]) -> list[Analysis]:
    """Return one analysis per number of seeds, with its largest error."""
    errors: dict[int, float] = {}
    for record in records:
        errors[record.num_seeds] = max(record.error, errors.get(record.num_seeds, 0.0))
    return [Analysis(num_seeds, error) for num_seeds, error in sorted(errors.items()) if num_seeds >= _FEWEST_SEEDS]
