"""Median stopping against its literal definition, and the contract of all schedulers."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest

from distune.config.search import AshaSettings, MedianSettings, NoSchedulerSettings, SchedulerSettings
from distune.study.schedulers.asha import Asha
from distune.study.schedulers.build import build_scheduler
from distune.study.schedulers.median import MedianStopping, median
from study.harness import MakeHarness

ALL: list[SchedulerSettings] = [
    AshaSettings(kind="asha"),
    MedianSettings(kind="median", min_trials=2),
    NoSchedulerSettings(kind="none"),
]


def literal(curves: dict[str, list[float]], key: str, epoch: int, *, grace: int, min_trials: int) -> bool:
    """Median stopping as defined in the paper."""
    others = [
        statistics.fmean(curve[:epoch]) for other, curve in curves.items() if other != key and len(curve) >= epoch
    ]
    if epoch < grace or len(others) < min_trials:
        return True
    return max(curves[key][:epoch]) >= statistics.median(others)


@pytest.mark.parametrize(("grace", "min_trials"), [(1, 1), (2, 3), (4, 2)])
def test_median_stopping_equals_the_definition_in_the_paper(grace: int, min_trials: int) -> None:
    random = np.random.default_rng(grace)
    scheduler = MedianStopping(grace_epochs=grace, min_trials=min_trials)
    curves: dict[str, list[float]] = {}
    decisions = []
    running = {str(number): 8 for number in range(12)}
    while running:
        key = str(random.choice(sorted(running)))
        curve = curves.setdefault(key, [])
        curve.append(float(random.normal(int(key) / 6)))
        should_continue = scheduler.should_continue(key, len(curve), curve[-1])
        assert should_continue == literal(curves, key, len(curve), grace=grace, min_trials=min_trials)
        decisions.append(should_continue)
        if not should_continue or len(curve) == running[key]:
            del running[key]
    assert True in decisions
    assert False in decisions


def test_the_median_of_an_even_number_is_between() -> None:
    assert median([1.0, 2.0, 5.0]) == 2.0
    assert median([1.0, 2.0, 4.0, 5.0]) == 3.0


@pytest.mark.parametrize("settings", ALL, ids=lambda settings: str(settings.kind))
def test_a_restored_scheduler_makes_the_same_decisions(settings: SchedulerSettings) -> None:
    """Before each trial, the scheduler is rebuilt from the recorded scores."""
    random = np.random.default_rng(3)
    lasting = build_scheduler(settings, 10)
    curves: dict[str, dict[int, float]] = {}
    for number in range(15):
        rebuilt = build_scheduler(settings, 10)
        for key, scores in curves.items():
            rebuilt.restore(key, {**scores, 99: math.nan})
        scores = curves[str(number)] = {}
        for epoch in range(1, 10):
            score = float(random.normal())
            scores[epoch] = score
            should_continue = lasting.should_continue(str(number), epoch, score)
            assert rebuilt.should_continue(str(number), epoch, score) == should_continue
            if not should_continue:
                break


@pytest.mark.parametrize("settings", ALL, ids=lambda settings: str(settings.kind))
def test_an_epoch_that_is_reported_twice_counts_once(settings: SchedulerSettings) -> None:
    first, second = build_scheduler(settings, 10), build_scheduler(settings, 10)
    for number in range(6):
        for epoch in (1, 2, 3):
            score = float((number * 7 + epoch) % 5)
            assert first.should_continue(str(number), epoch, score) == second.should_continue(str(number), epoch, score)
            second.should_continue(str(number), epoch, 99.0)


def test_without_a_scheduler_all_trials_continue() -> None:
    scheduler = build_scheduler(NoSchedulerSettings(kind="none"), 12)
    assert all(scheduler.should_continue(str(index), epoch, -index) for index in range(5) for epoch in range(1, 13))


def test_asha_has_the_rungs_of_its_settings() -> None:
    scheduler = build_scheduler(AshaSettings(kind="asha"), 10)
    assert isinstance(scheduler, Asha)
    assert scheduler.rung_epochs == (1, 3, 9)


def test_a_study_with_median_stopping_is_the_same_in_several_sessions(make_harness: MakeHarness) -> None:
    search = {"num_trials": 5, "scheduler": {"kind": "median", "min_trials": 2, "grace_epochs": 2}}
    whole, parts = make_harness(search=search), make_harness(search=search)
    parts.trials = parts.trials.with_name("parts")
    whole.run()
    engine = parts.engine()
    while not engine.is_done:
        parts.run(engine, stop_after_epochs=7)
        engine.interrupt()
        engine = parts.engine()
    assert {number: trial.scores for number, trial in parts.known().items()} == {
        number: trial.scores for number, trial in whole.known().items()
    }
