"""Levels of repeated looks: together they miss the true gain in at most 5% of cases."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from distune.evidence.looks import ERROR, FIRST_LOOK_ERROR, Look, planned_look_error, single_look_error


def missed(looks: list[Look], *, num_paths: int = 20_000, seed: int = 1) -> float:
    """The fraction of samples without a gain in which any look excludes zero, by scipy's t test."""
    gains_PS = np.random.default_rng(seed).standard_normal((num_paths, looks[-1].num_seeds))
    found_P = np.zeros(num_paths, dtype=bool)
    for look in looks:
        found_P |= stats.ttest_1samp(gains_PS[:, : look.num_seeds], 0.0, axis=1).pvalue < look.error
    return float(found_P.mean())


@pytest.mark.parametrize("sizes", [(5, 6, 7, 8), tuple(range(5, 21)), (3, 10), (2, 3, 4)])
def test_planned_looks_have_five_percent_together(sizes: tuple[int, ...]) -> None:
    error = planned_look_error([], sizes)
    looks = [Look(size, error) for size in sizes]
    assert missed(looks) == pytest.approx(ERROR, abs=0.006)  # four standard errors of 20,000 samples
    assert missed([Look(size, 0.05) for size in sizes]) > ERROR + 0.006


def test_looks_that_were_not_planned_have_at_most_five_percent_together() -> None:
    looks: list[Look] = []
    for size in (5, 8, 12, 20):
        looks.append(Look(size, single_look_error(looks, size)))
    assert looks[0].error == FIRST_LOOK_ERROR
    assert all(look.error < 0.012 for look in looks[1:])
    assert 0.042 < missed(looks) < 0.056


def test_a_plan_after_a_single_look_uses_what_is_left() -> None:
    first = Look(5, single_look_error([], 5))
    error = planned_look_error([first], range(6, 13))
    looks = [first, *(Look(size, error) for size in range(6, 13))]
    assert missed(looks) == pytest.approx(ERROR, abs=0.006)


def test_after_a_plan_nothing_is_left() -> None:
    error = planned_look_error([], range(5, 9))
    used = [Look(size, error) for size in range(5, 9)]
    assert single_look_error(used, 20) < 0.001


@pytest.mark.parametrize("sizes", [(5, 5), (8, 5), (1, 2)])
def test_numbers_of_seeds_must_rise(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="looks need rising numbers of seeds"):
        planned_look_error([], sizes)
