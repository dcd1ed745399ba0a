"""ASHA: rungs, the top 1/eta rule, and restarts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distune.study.schedulers.asha import Asha, num_kept, rungs


@pytest.mark.parametrize(
    ("grace", "budget", "factor", "expected"),
    [
        (1, 9, 3.0, (1, 3)),
        (1, 10, 3.0, (1, 3, 9)),
        (2, 16, 2.0, (2, 4, 8)),
        (4, 4, 3.0, ()),
        (1, 1, 3.0, ()),
        (1, 6, 1.5, (1, 2, 3, 5)),
    ],
)
def test_rungs(grace: int, budget: int, factor: float, expected: tuple[int, ...]) -> None:
    assert rungs(grace, budget, factor) == expected


@given(st.integers(1, 20), st.integers(1, 300), st.floats(1.05, 8.0))
def test_rungs_are_ascending_from_the_grace_epochs_and_less_than_the_budget(
    grace: int, budget: int, factor: float
) -> None:
    found = rungs(grace, budget, factor)
    assert list(found) == sorted(set(found))
    assert all(grace <= rung < budget for rung in found)
    assert (found[:1] == (grace,)) == (grace < budget)


@pytest.mark.parametrize(("num_reached", "expected"), [(1, 1), (2, 1), (3, 1), (5, 1), (6, 2), (9, 3), (11, 3)])
def test_one_in_three_is_kept_and_always_the_best(num_reached: int, expected: int) -> None:
    assert num_kept(num_reached, 3.0) == expected


def test_decisions_in_an_example_computed_by_hand() -> None:
    asha = Asha((1, 3), reduction_factor=3.0)
    assert asha.should_continue("0", 1, 10.0)  # the first
    assert not asha.should_continue("1", 1, 9.0)  # one of two is kept, and it is the other
    assert asha.should_continue("2", 1, 12.0)  # the best of three
    assert asha.should_continue("2", 2, 1.0)  # no rung
    assert not asha.should_continue("3", 1, 11.0)
    assert not asha.should_continue("4", 1, 11.5)
    assert asha.should_continue("5", 1, 11.6)  # two of six are kept: 12 and this one
    assert asha.should_continue("0", 3, 8.0)  # the first at the second rung
    assert not asha.should_continue("2", 3, 7.0)
    assert asha.scores(1) == (12.0, 11.6, 11.5, 11.0, 10.0, 9.0)
    assert asha.scores(3) == (8.0, 7.0)


def test_equal_scores_share_the_better_rank() -> None:
    asha = Asha((1,), reduction_factor=3.0)
    assert asha.should_continue("0", 1, 5.0)
    assert asha.should_continue("1", 1, 5.0)


def test_a_late_report_counts_for_the_highest_rung_only() -> None:
    asha = Asha((1, 3, 9), reduction_factor=3.0)
    asha.should_continue("late", 5, 50.0)
    assert asha.scores(1) == ()
    assert asha.scores(3) == (50.0,)
    asha.should_continue("late", 6, 60.0)
    assert asha.scores(3) == (50.0,)
    assert asha.should_continue("healthy", 1, 1.0), "the late score must not be compared with this one"


def test_restored_trials_do_not_stop_good_ones() -> None:
    """In Ray Tune, rungs are empty after a restart and fill with the late scores of resumed trials."""
    asha = Asha((1, 3), reduction_factor=3.0)
    asha.restore("0", {1: 10.0, 2: 20.0, 3: 30.0, 4: 40.0})
    asha.should_continue("0", 5, 50.0)
    assert asha.scores(1) == (10.0,)
    assert asha.should_continue("1", 1, 11.0)


def test_scores_that_are_not_finite_are_not_restored() -> None:
    asha = Asha((1, 3), reduction_factor=3.0)
    asha.restore("0", {1: 10.0, 3: math.nan})
    assert asha.scores(3) == ()


@pytest.mark.parametrize("seed", range(20))
def test_a_restored_scheduler_makes_the_decisions_of_the_lost_one(seed: int) -> None:
    """Trials report in any order; at some point everything is lost except the scores."""
    random = np.random.default_rng(seed)
    rung_epochs = rungs(1, 12, 2.0)
    online = Asha(rung_epochs, reduction_factor=2.0)
    scores: dict[str, dict[int, float]] = {str(index): {} for index in range(30)}
    alive = sorted(scores)
    moment = int(random.integers(5, 30))
    for step in range(200):
        if step == moment:
            restored = Asha(rung_epochs, reduction_factor=2.0)
            for key in random.permutation(sorted(scores)):
                restored.restore(str(key), scores[str(key)])
        if not alive:
            break
        key = str(random.choice(alive))
        epoch, score = len(scores[key]) + 1, float(random.normal(len(scores[key])))
        should_continue = online.should_continue(key, epoch, score)
        if step >= moment:
            assert restored.should_continue(key, epoch, score) == should_continue
        scores[key][epoch] = score
        if not should_continue or epoch == 12:
            alive.remove(key)
    assert all(online.scores(rung) == restored.scores(rung) for rung in rung_epochs)


@given(st.integers(0, 1000), st.lists(st.integers(0, 60), min_size=12, max_size=12))
def test_subtracting_the_score_of_one_control_changes_no_decision(seed: int, control: list[int]) -> None:
    """All trials at a rung have the same number of epochs, so that the control's score is one constant there."""
    random = np.random.default_rng(seed)
    plain, paired = (Asha(rungs(2, 12, 2.0), reduction_factor=2.0) for _ in range(2))
    for trial in range(16):
        for epoch in range(1, 12):
            score = float(random.integers(0, 200)) / 4  # ties occur, and differences are exact
            should_continue = plain.should_continue(str(trial), epoch, score)
            assert paired.should_continue(str(trial), epoch, score - control[epoch - 1]) == should_continue
            if not should_continue:
                break
