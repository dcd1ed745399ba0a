"""Levels of repeated analyses: together they miss the true gain in at most 5% of cases."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from distune.evidence.repeated_analyses import (
    ERROR,
    FIRST_ERROR,
    Analysis,
    further_error,
    planned_error,
    unplanned_error,
)


def missed(analyses: list[Analysis], *, num_paths: int = 20_000, seed: int = 1) -> float:
    """The fraction of samples without a gain in which any analysis excludes zero, by scipy's t test."""
    gains_PS = np.random.default_rng(seed).standard_normal((num_paths, analyses[-1].num_seeds))
    found_P = np.zeros(num_paths, dtype=bool)
    for analysis in analyses:
        found_P |= stats.ttest_1samp(gains_PS[:, : analysis.num_seeds], 0.0, axis=1).pvalue < analysis.error
    return float(found_P.mean())


@pytest.mark.parametrize("sizes", [(5, 6, 7, 8), tuple(range(5, 21)), (3, 10), (2, 3, 4)])
def test_planned_looks_have_five_percent_together(sizes: tuple[int, ...]) -> None:
    error = planned_error([], sizes)
    analyses = [Analysis(size, error) for size in sizes]
    assert missed(analyses) == pytest.approx(ERROR, abs=0.006)  # four standard errors of 20,000 samples
    assert missed([Analysis(size, 0.05) for size in sizes]) > ERROR + 0.006


def test_looks_that_were_not_planned_have_at_most_five_percent_together() -> None:
    analyses: list[Analysis] = []
    for size in (5, 8, 12, 20):
        analyses.append(Analysis(size, unplanned_error(analyses, size)))
    assert analyses[0].error == FIRST_ERROR
    assert all(analysis.error < 0.012 for analysis in analyses[1:])
    assert 0.042 < missed(analyses) < 0.056


@pytest.mark.parametrize(("first", "second"), [(3, 4), (3, 10), (5, 6), (5, 8), (5, 20), (8, 30), (20, 21)])
def test_the_quick_level_of_a_second_look_is_that_of_the_exact_one(first: int, second: int) -> None:
    look = Analysis(first, FIRST_ERROR)
    assert further_error(look, second) == pytest.approx(unplanned_error([look], second), rel=0.12)


def test_the_quick_level_of_a_third_look_is_less_than_that_of_the_second() -> None:
    first = Analysis(5, FIRST_ERROR)
    second = Analysis(8, unplanned_error([first], 8))
    assert further_error(second, 12) == pytest.approx(unplanned_error([first, second], 12), rel=0.2)


def test_a_plan_after_a_single_look_uses_what_is_left() -> None:
    first = Analysis(5, unplanned_error([], 5))
    error = planned_error([first], range(6, 13))
    analyses = [first, *(Analysis(size, error) for size in range(6, 13))]
    assert missed(analyses) == pytest.approx(ERROR, abs=0.006)


def test_after_a_plan_nothing_is_left() -> None:
    error = planned_error([], range(5, 9))
    used = [Analysis(size, error) for size in range(5, 9)]
    assert unplanned_error(used, 20) < 0.001


@pytest.mark.parametrize("sizes", [(5, 5), (8, 5), (1, 2)])
def test_numbers_of_seeds_must_rise(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="analyses need rising numbers of seeds"):
        planned_error([], sizes)
