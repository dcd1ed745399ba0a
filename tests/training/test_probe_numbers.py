"""Comparing plays: what counts as a difference, and which is named."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

from distune.training.probe.numbers import Change, Comparison, Numbers, apart, compare, noise

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
def test_how_far_two_numbers_are_apart(first: float, second: float, expected: float) -> None:
    assert apart(first, second) == expected
    assert apart(second, first) == expected


def test_the_largest_change_of_the_first_epoch_with_any_is_named() -> None:
    first: list[Numbers] = [{"loss/a": 1.0}, {"loss/a": 1.0, "loss/b": 1.0}, {"loss/a": 5.0}]
    second: list[Numbers] = [{"loss/a": 1.0}, {"loss/a": 2.0, "loss/b": 4.0}, {"loss/a": 500.0}]
    change = Change(name="loss/b", epoch=2, first=1.0, second=4.0)
    assert compare(first, second, tolerance=0.0) == Comparison(moved=change)
    assert change.share == 0.75


def test_noise_moves_nothing_and_neither_does_what_is_only_measured() -> None:
    first: list[Numbers] = [{"loss/a": 1.0, "measured/kept": 1.0}, {"loss/a": 1.0, "measured/kept": 9.0}]
    second: list[Numbers] = [{"loss/a": 1.0 + 1e-8, "measured/kept": 2.0}, {"loss/a": 1.0, "measured/kept": 1.0}]
    measured = Change(name="measured/kept", epoch=1, first=1.0, second=2.0)
    assert compare(first, second, tolerance=1e-7) == Comparison(measured=measured)
    assert compare(first, second, tolerance=0.0).moved is not None


def test_a_loss_that_only_one_has_is_a_change() -> None:
    moved = compare([{"loss/a": 1.0}], [{}], tolerance=1e-7).moved
    assert moved is not None
    assert moved.name == "loss/a"
    assert math.isnan(moved.second)
    assert moved.to_dict() == {"name": "loss/a", "epoch": 1, "first": 1.0, "second": None, "share": 1.0}


def test_a_play_is_read_no_further_than_needed() -> None:
    def play(value: float) -> Iterator[Numbers]:
        yield {"loss/a": value}
        raise AssertionError("the second epoch is not needed")

    assert compare(play(1.0), play(2.0), tolerance=0.0).moved is not None


def test_the_noise_is_the_largest_difference_of_equal_plays() -> None:
    first: list[Numbers] = [{"a": 1.0}, {"a": 4.0, "b": 1.0, "measured/kept": 1.0}]
    second: list[Numbers] = [{"a": 1.0}, {"a": 5.0, "b": 1.0, "measured/kept": 9.0}]
    assert noise(first, second) == pytest.approx(0.2)
    assert noise([], []) == 0.0
