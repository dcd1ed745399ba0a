"""The nominal error of the next interval of a confirmation."""

from __future__ import annotations

import pytest

from distune.confirmation.analysis import nominal_error
from distune.evidence.confirmation_result import AnalysisRecord


def record(num_seeds: int, error: float, plan: tuple[int, int] | None = None) -> AnalysisRecord:
    return AnalysisRecord(trial=1, metric="AP", split="test", num_seeds=num_seeds, error=error, plan=plan)


def test_the_first_interval_has_four_percent_and_the_same_one_again_too() -> None:
    assert nominal_error([], 5, None) == 0.04
    assert nominal_error([record(5, 0.04)], 5, None) == 0.04
    assert nominal_error([record(5, 0.04)], 5, (5, 20)) == 0.04


def test_a_later_interval_uses_what_is_unspent() -> None:
    later = nominal_error([record(5, 0.04)], 8, None)
    assert 0.005 < later < 0.02
    planned = nominal_error([record(8, 0.04)], 9, (8, 20))
    assert planned < later
    assert nominal_error([record(8, 0.04), record(9, planned, (8, 20))], 10, (8, 20)) == planned


def test_fewer_seeds_never_get_the_level_of_more() -> None:
    assert nominal_error([record(8, 0.04)], 5, (5, 20)) <= 0.02
    assert nominal_error([record(8, 0.04)], 7, None) <= 0.02


def test_all_intervals_of_a_plan_have_one_level() -> None:
    first = nominal_error([], 5, (5, 12))
    assert first == pytest.approx(0.0145, abs=0.001)
    assert nominal_error([record(5, first, (5, 12))], 6, (5, 12)) == first
