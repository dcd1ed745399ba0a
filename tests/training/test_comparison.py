"""Comparison of replays: the largest change, and the noise."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

from distune.training.probe.comparison import (
    WEAK_FRACTION,
    Change,
    Comparison,
    EpochValues,
    compare,
    larger,
    noise,
    relative_difference,
)

NAN = math.nan


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (1.0, 1.0, 0.0),
        (0.0, 0.0, 0.0),
        (1.0, 4.0, 0.75),
        (-4.0, -1.0, 0.75),
        (0.0, 1e-9, 1.0),
        (NAN, NAN, 0.0),
        (math.inf, NAN, 0.0),
        (NAN, 1.0, 1.0),
        (1.0, math.inf, 1.0),
    ],
)
def test_relative_difference(first: float, second: float, expected: float) -> None:
    assert relative_difference(first, second) == expected
    assert relative_difference(second, first) == expected


def test_the_largest_change_of_the_first_epoch_with_any_is_named() -> None:
    first: list[EpochValues] = [{"loss/a": 1.0}, {"loss/a": 1.0, "loss/b": 1.0}, {"loss/a": 5.0}]
    second: list[EpochValues] = [{"loss/a": 1.0}, {"loss/a": 2.0, "loss/b": 4.0}, {"loss/a": 500.0}]
    change = Change(name="loss/b", epoch=2, first=1.0, second=4.0)
    assert compare(first, second, tolerance=0.0) == Comparison(change=change)
    assert change.fraction == 0.75


def test_the_largest_of_weak_changes_is_named_and_a_later_strong_one_ends_the_search() -> None:
    first: list[EpochValues] = [{"loss/a": 1.0, "loss/b": 1.0}] * 3
    weak: list[EpochValues] = [{"loss/a": 1.00001, "loss/b": 1.0}, {"loss/a": 1.0, "loss/b": 1.0005}, *first[:1]]
    found = compare(first, weak, tolerance=1e-7).change
    assert found == Change(name="loss/b", epoch=2, first=1.0, second=1.0005)
    assert found.fraction < WEAK_FRACTION
    strong: list[EpochValues] = [*weak[:2], {"loss/a": 1.0, "loss/b": 1.1}]
    assert compare(first, strong, tolerance=1e-7).change == Change(name="loss/b", epoch=3, first=1.0, second=1.1)


def test_the_larger_change() -> None:
    small, large = (Change(name="loss/a", epoch=1, first=1.0, second=second) for second in (1.1, 2.0))
    assert larger(small, large) is larger(large, small) is large
    assert larger(None, small) is larger(small, None) is small
    assert larger(None, None) is None


def test_noise_and_measured_values_are_no_change() -> None:
    first: list[EpochValues] = [{"loss/a": 1.0, "measured/kept": 1.0}, {"loss/a": 1.0, "measured/kept": 9.0}]
    second: list[EpochValues] = [{"loss/a": 1.0 + 1e-8, "measured/kept": 2.0}, {"loss/a": 1.0, "measured/kept": 1.0}]
    measured = Change(name="measured/kept", epoch=1, first=1.0, second=2.0)
    assert compare(first, second, tolerance=1e-7) == Comparison(measured=measured)
    assert compare(first, second, tolerance=0.0).change is not None


def test_a_loss_that_only_one_has_is_a_change() -> None:
    change = compare([{"loss/a": 1.0}], [{}], tolerance=1e-7).change
    assert change is not None
    assert change.name == "loss/a"
    assert math.isnan(change.second)
    assert change.to_dict() == {"name": "loss/a", "epoch": 1, "first": 1.0, "second": None, "fraction": 1.0}


def test_a_replay_is_consumed_no_further_than_needed() -> None:
    def replay(value: float) -> Iterator[EpochValues]:
        yield {"loss/a": value}
        raise AssertionError("the second epoch is not needed")

    assert compare(replay(1.0), replay(2.0), tolerance=0.0).change is not None


def test_the_noise_is_the_largest_difference_of_equal_replays() -> None:
    first: list[EpochValues] = [{"a": 1.0}, {"a": 4.0, "b": 1.0, "measured/kept": 1.0}]
    second: list[EpochValues] = [{"a": 1.0}, {"a": 5.0, "b": 1.0, "measured/kept": 9.0}]
    assert noise(first, second) == pytest.approx(0.2)
    assert noise([], []) == 0.0
