"""The factor on distillation, and when prototypes are due."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distune.distillation.weight_schedule import Decay, WeightSchedule

DECAYS: list[Decay] = ["linear", "cosine", "constant"]


@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        ("linear", [0, 0, 1, 0.75, 0.5, 0.25, 0, 0]),
        ("cosine", [0, 0, 1, 0.853553, 0.5, 0.146447, 0, 0]),
        ("constant", [0, 0, 1, 1, 1, 1, 0, 0]),
    ],
)
def test_factor_by_epoch(decay: Decay, expected: list[float]) -> None:
    schedule = WeightSchedule(decay=decay, start_after=2, stop_after=6)
    assert [schedule.factor(epoch) for epoch in range(1, 9)] == pytest.approx(expected, abs=1e-6)


@given(st.sampled_from(DECAYS), st.integers(0, 20), st.integers(1, 20))
def test_starts_at_one_never_rises_and_is_active_in_every_epoch_between(decay: Decay, start: int, length: int) -> None:
    schedule = WeightSchedule(decay=decay, start_after=start, stop_after=start + length)
    factors = [schedule.factor(epoch) for epoch in range(start + 1, start + length + 1)]
    assert factors[0] == 1
    assert all(earlier >= later > 0 for earlier, later in itertools.pairwise(factors))
    assert schedule.factor(start) == schedule.factor(start + length + 1) == 0


def refreshes(refresh_epochs: int, *, start: int = 2, stop: int = 9, num_epochs: int = 12) -> list[int]:
    schedule = WeightSchedule(decay="linear", start_after=start, stop_after=stop)
    made: list[int] = []
    for epoch in range(1, num_epochs + 1):
        made_for = made[-1] if made else None
        if schedule.next_refresh(epoch, made_for=made_for, refresh_epochs=refresh_epochs) == epoch:
            made.append(epoch)
    return made


def test_prototypes_are_due_first_and_then_as_often_as_asked() -> None:
    assert refreshes(0) == [3]
    assert refreshes(1) == [3, 4, 5, 6, 7, 8, 9]
    assert refreshes(3) == [3, 6, 9]
    assert refreshes(30) == [3]


def test_a_refresh_that_would_come_too_late_is_none() -> None:
    schedule = WeightSchedule(decay="linear", start_after=0, stop_after=5)
    assert schedule.next_refresh(2, made_for=2, refresh_epochs=3) == 5
    assert schedule.next_refresh(2, made_for=3, refresh_epochs=3) is None
    assert schedule.next_refresh(6, made_for=None, refresh_epochs=1) is None


def test_the_first_prototypes_are_due_when_distillation_starts() -> None:
    schedule = WeightSchedule(decay="linear", start_after=3, stop_after=5)
    assert schedule.next_refresh(1, made_for=None, refresh_epochs=0) == 4
    assert schedule.next_refresh(5, made_for=None, refresh_epochs=0) == 5
