"""The time of a study: what is measured, what is left, and how it is shown."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest

from distune.config.format_value import show_duration
from distune.records import EpochReport, Outcome, TrialRecord, TrialSpec, TrialState
from distune.study.planning.study_clock import StudyClock
from distune.study.planning.study_plan import StudyPlan, expected_rest, expected_search_epochs, plan_study
from distune.study.planning.study_time import (
    EpochTime,
    MeasuredEpochs,
    StudyTime,
    TrialTime,
    epoch_times,
    mean_seconds,
    peak_overlap,
    study_time,
)
from distune.study.planning.time_text import describe_study_time, show_date, show_left
from distune.study.schedulers.asha import Asha
from study.harness import MakeLoaded

NO_STOPS = {"scheduler": {"kind": "none"}}


def trial(epochs: int, outcome: Outcome = Outcome.RUNNING, *, control: bool = False) -> TrialTime:
    is_open = outcome in (Outcome.RUNNING, Outcome.INTERRUPTED)
    return TrialTime(control=control, epochs=epochs, is_open=is_open, is_running=outcome is Outcome.RUNNING)


def epochs(*seconds: float, start: float = 1000.0) -> list[EpochTime]:
    ends = np.cumsum(seconds) + start
    return [EpochTime(float(end), each) for end, each in zip(ends, seconds, strict=True)]


@pytest.fixture
def plan(make_loaded: MakeLoaded) -> StudyPlan:
    """Twelve trials and one control of nine epochs, without early stopping."""
    return plan_study(make_loaded(search=NO_STOPS).experiment)


def test_nothing_is_estimated_before_an_epoch_with_distillation_was_measured(plan: StudyPlan) -> None:
    before = study_time(plan, [], MeasuredEpochs(), started_at=5.0)
    assert before == StudyTime(
        started_at=5.0, last_epoch_at=None, epoch_s=None, control_epoch_s=None, num_concurrent=1, left_s=None
    )
    control = MeasuredEpochs(controls=epochs(2.0, 2.0))
    only = study_time(plan, [trial(2, control=True)], control, started_at=5.0)
    assert (only.control_epoch_s, only.epoch_s, only.left_s) == (2.0, None, None)


def test_without_early_stopping_all_epochs_remain(plan: StudyPlan) -> None:
    trials = [trial(9, Outcome.FINISHED, control=True), trial(9, Outcome.FINISHED), trial(4, Outcome.INTERRUPTED)]
    measured = MeasuredEpochs(searched=epochs(3.0, 5.0), controls=epochs(1.0, start=900.0))
    found = study_time(plan, trials, measured, started_at=0.0)
    assert found.left_s == pytest.approx((5 + 10 * 9) * 4.0)
    assert (found.epoch_s, found.control_epoch_s, found.last_epoch_at) == (4.0, 1.0, 1008.0)
    assert not found.left_is_maximum


@pytest.mark.parametrize("outcome", [Outcome.STOPPED, Outcome.DIVERGED, Outcome.FAILED, Outcome.FINISHED])
def test_trials_that_ended_have_nothing_left(plan: StudyPlan, outcome: Outcome) -> None:
    trials = [trial(9, Outcome.FINISHED, control=True), *[trial(2, outcome) for _ in range(12)]]
    found = study_time(plan, trials, MeasuredEpochs(searched=epochs(3.0)), started_at=0.0)
    assert found.left_s is None


def test_trials_at_a_time_share_the_work_down_to_the_longest(plan: StudyPlan) -> None:
    side_by_side = MeasuredEpochs(searched=[*epochs(4.0, 4.0), *epochs(4.0, 4.0, start=1001.0)])
    many = study_time(plan, [trial(2), trial(2)], side_by_side, started_at=0.0)
    assert many.num_concurrent == 2
    assert many.left_s == pytest.approx((2 * 7 + 10 * 9 + 9) * 4.0 / 2)
    ended = [trial(9, Outcome.FINISHED, control=True), *[trial(9, Outcome.FINISHED) for _ in range(11)]]
    last = study_time(plan, [*ended, trial(2)], side_by_side, started_at=0.0)
    assert last.left_s == pytest.approx(7 * 4.0), "one trial has no use for a second place"


def test_the_time_since_the_latest_epoch_is_subtracted_but_never_all_of_it(plan: StudyPlan) -> None:
    trials = [trial(9, Outcome.FINISHED, control=True), *[trial(9, Outcome.FINISHED) for _ in range(11)], trial(7)]
    measured = MeasuredEpochs(searched=epochs(10.0))
    left = [study_time(plan, trials, measured, started_at=0.0, now=1010.0 + each).left_s for each in (0, 4, 500)]
    assert left == [20.0, 16.0, 10.0]


def test_epochs_of_the_session_count_before_older_ones(plan: StudyPlan) -> None:
    measured = MeasuredEpochs(searched=[*epochs(10.0, 10.0), *epochs(2.0, 2.0, start=5000.0)])
    assert study_time(plan, [trial(4)], measured, started_at=0.0, session_at=4000.0).epoch_s == 2.0
    assert study_time(plan, [trial(4)], measured, started_at=0.0, session_at=6000.0).epoch_s == 6.0
    assert study_time(plan, [trial(4)], measured, started_at=0.0).epoch_s == 6.0


def test_only_the_latest_epochs_are_averaged() -> None:
    assert mean_seconds(epochs(*[9.0] * 100, *[1.0] * 50)) == 1.0
    assert mean_seconds([]) is None


def test_under_median_stopping_the_estimate_is_a_maximum(make_loaded: MakeLoaded) -> None:
    plan = plan_study(make_loaded(search={"scheduler": {"kind": "median"}}).experiment)
    found = study_time(plan, [trial(3)], MeasuredEpochs(searched=epochs(1.0)), started_at=0.0)
    assert found.left_s == 6 + 11 * 9 + 9
    assert show_left(found) == "at most 2 min left"


def test_asha_stops_some_of_the_trials_that_remain(make_loaded: MakeLoaded) -> None:
    plan = plan_study(make_loaded().experiment)
    assert plan.rungs == (1, 3)
    whole = study_time(plan, [trial(0)], MeasuredEpochs(searched=epochs(1.0)), started_at=0.0)
    assert plan.expected_epochs is not None
    assert whole.left_s == pytest.approx(plan.expected_epochs)
    trials = [
        trial(9, Outcome.FINISHED, control=True),
        *[trial(1, Outcome.STOPPED) for _ in range(10)],
        trial(9),
        trial(3),
    ]
    late = study_time(plan, trials, MeasuredEpochs(searched=epochs(1.0)), started_at=0.0)
    assert late.left_s == pytest.approx(6.0), "a trial that has passed the last rung trains to its end"


def test_the_rest_of_a_new_study_is_the_whole() -> None:
    assert expected_rest(8, (), 9, (1, 3), 3.0, [0, 0]) == expected_search_epochs(8, 9, (1, 3), 3.0)
    assert expected_rest(0, [4, 0], 9, (), 3.0, []) == 5 + 9
    assert expected_rest(0, [9], 9, (1, 3), 3.0, [1, 1]) == 0.0


def test_the_rest_agrees_with_studies_that_are_resumed() -> None:
    random = np.random.default_rng(3)
    repeats, num_before, num_after = 400, 7, 6
    left, expected = 0.0, 0.0
    for _ in range(repeats):
        asha, done = Asha((1, 3), reduction_factor=3.0), []
        for index in range(num_before + num_after):
            length = next((rung for rung in (1, 3) if not asha.should_continue(str(index), rung, random.normal())), 9)
            done.append(length)
        before = done[:num_before]
        reached = [sum(each >= rung for each in before) for rung in (1, 3)]
        expected += expected_rest(num_after, (), 9, (1, 3), 3.0, reached)
        left += sum(done[num_before:])
    assert left / repeats == pytest.approx(expected / repeats, rel=0.06)


def test_overlapping_epochs_are_counted() -> None:
    assert peak_overlap([]) == 0
    assert peak_overlap(epochs(2.0, 2.0, 2.0)) == 1, "one after the other"
    assert peak_overlap([*epochs(2.0, 2.0), *epochs(3.0, start=1000.5), EpochTime(5000.0, 1.0)]) == 2


def test_epochs_without_a_time_are_left_out() -> None:
    reports = [EpochReport(epoch=1, metrics={}, finished_at=9.0)]
    reports.append(EpochReport(epoch=2, metrics={"time/epoch_s": 3.0}, finished_at=12.0))
    assert epoch_times(reports) == (EpochTime(12.0, 3.0),)


def spec(number: int) -> TrialSpec:
    return TrialSpec(
        study="small",
        number=number,
        control=number < 0,
        seed=0,
        num_epochs=9,
        params={},
        experiment={},
        folder="",
        teacher_weights=None,
    )


def report(epoch: int, at: float, seconds: float) -> EpochReport:
    return EpochReport(epoch=epoch, metrics={"time/epoch_s": seconds}, finished_at=at)


def record(number: int, outcome: Outcome, num_epochs: int) -> TrialRecord:
    return TrialRecord(
        number=number,
        state=TrialState.RUNNING,
        outcome=outcome,
        control=number < 0,
        epochs=num_epochs,
        params={},
        metrics={},
        seed=0,
    )


def test_a_clock_follows_a_resumed_session(plan: StudyPlan) -> None:
    earlier = {"control-1": trial(9, Outcome.FINISHED, control=True), "0": trial(4)}
    clock = StudyClock(plan, earlier, MeasuredEpochs(searched=epochs(7.0)), started_at=0.0, session_at=2000.0)
    assert clock.read(2000.0).left_s == (5 + 11 * 9) * 7.0
    clock.start(spec(0))
    clock.add(spec(0), report(5, 2002.0, 2.0))
    now = clock.read(2002.0)
    assert (now.epoch_s, now.num_concurrent) == (2.0, 1)
    assert now.left_s == (4 + 11 * 9) * 2.0
    clock.end(record(0, Outcome.STOPPED, 5))
    clock.start(spec(1))
    clock.start(spec(2))
    both = clock.read(2002.0)
    assert both.num_concurrent == 2
    assert both.left_s == 11 * 9 * 2.0 / 2
    clock.end(record(1, Outcome.INTERRUPTED, 0))
    assert clock.read(2002.0).left_s == 11 * 9 * 2.0, "an interrupted trial still has its epochs"


def test_durations_are_rounded_to_what_one_would_say() -> None:
    found = [show_duration(each) for each in (0.2, 42.4, 100, 725, 5000, 12600, 5 * 86400)]
    assert found == ["1 s", "42 s", "2 min", "12 min", "83 min", "3.5 h", "5.0 days"]


def test_dates_are_in_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC-2")
    time.tzset()
    try:
        assert show_date(0.0) == "1970-01-01 02:00"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_the_time_of_a_study_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distune.study.planning.time_text.show_date", lambda at: f"<{at:.0f}>")
    times = StudyTime(
        started_at=0.0, last_epoch_at=60.0, epoch_s=3.14, control_epoch_s=1.2, num_concurrent=2, left_s=725.0
    )
    pace = "3.1 s per epoch, 1.2 s without distillation"
    assert describe_study_time(times, "running", now=100.0) == (
        f"time: started <0>, about 12 min left, until <825>; {pace}, 2 trials at a time"
    )
    assert describe_study_time(times, "interrupted", now=100.0) == (
        f"time: started <0>, latest epoch <60>, about 12 min left after distune resume; {pace}, 2 trials at a time"
    )
    over = dataclasses.replace(times, left_s=None)
    assert describe_study_time(over, "finished", now=100.0) == f"time: <0> to <60>; {pace}"
    new = dataclasses.replace(over, last_epoch_at=None, epoch_s=None, control_epoch_s=None)
    assert describe_study_time(new, "running", now=1.0) == "time: started <0>; seconds per epoch: not measured yet"
    control = dataclasses.replace(over, epoch_s=None)
    assert "1.2 s per epoch without distillation; with it: not measured yet" in describe_study_time(
        control, "running", now=1.0
    )
