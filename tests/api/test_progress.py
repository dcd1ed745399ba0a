"""What a progress display shows of the whole study: time left, seconds per epoch, the teacher, the best trial."""

from __future__ import annotations

import dataclasses
import io

import pytest
from rich.console import Console

from distune.api.progress import LiveTable, PlainProgress
from distune.api.study_progress import StudyProgress
from distune.records import EpochReport, Outcome, TrialRecord, TrialSpec, TrialState
from distune.reports.console import make_console
from distune.study.callback import Decision
from distune.study.planning.study_clock import StudyClock
from distune.study.planning.study_plan import StudyPlan
from distune.study.planning.study_time import MeasuredEpochs

METRIC = "search/AP"
NOW = 10_000.0


def spec(number: int) -> TrialSpec:
    return TrialSpec(
        study="small",
        number=number,
        control=number < 0,
        seed=0,
        num_epochs=2,
        params={},
        experiment={"search": {"metric": "AP"}},
        folder="",
        teacher_weights=None,
    )


def record(number: int, value: float, outcome: Outcome = Outcome.FINISHED) -> TrialRecord:
    return TrialRecord(
        number=number,
        state=TrialState.COMPLETE,
        outcome=outcome,
        control=number < 0,
        epochs=2,
        params={},
        metrics={METRIC: value},
        seed=0,
    )


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> StudyProgress:
    """Three trials and a control of two epochs each; an earlier session has finished trial 0."""
    monkeypatch.setattr("time.time", lambda: NOW)
    plan = StudyPlan(
        num_trials=3, num_controls=1, num_epochs=2, rungs=(), max_epochs=8, expected_epochs=8.0, expected_finished=4.0
    )
    clock = StudyClock(plan, {}, MeasuredEpochs(), started_at=NOW - 60, session_at=NOW - 30)
    trials = {"0": record(0, 12.0)}
    clock.end(trials["0"])
    return StudyProgress(clock, METRIC, 20.0, trials)


def run(view: PlainProgress | LiveTable, number: int, value: float) -> None:
    view.on_trial_start(spec(number))
    for epoch in (1, 2):
        report = EpochReport(
            epoch=epoch, metrics={METRIC: value, "time/epoch_s": 30.0}, finished_at=NOW - 30.0 * (2 - epoch)
        )
        view.on_epoch_end(spec(number), report, Decision.CONTINUE)
    view.on_trial_end(record(number, value))


def test_plain_lines_name_the_time_left_and_each_new_best_trial(study: StudyProgress) -> None:
    out = io.StringIO()
    view = PlainProgress(Console(file=out, width=200))
    view.on_session_start(3)
    view.follow(study)
    run(view, -1, 10.0)
    run(view, 1, 11.0)
    run(view, 2, 13.0)
    lines = out.getvalue().splitlines()
    ends = [line for line in lines if "trials ended" in line or line.startswith("best")]
    assert ends == [
        "trial control-1: finished after 2 epochs, best search/AP 10.0  [1 of 3 trials ended]",
        "best so far: trial 0, search/AP 12.0, +2.0 against the control",
        "trial 1: finished after 2 epochs, best search/AP 11.0  [2 of 3 trials ended, about 60 s left]",
        "trial 2: finished after 2 epochs, best search/AP 13.0  [3 of 3 trials ended]",
        "best so far: trial 2, search/AP 13.0, +3.0 against the control",
    ]


def shown_lines(view: LiveTable) -> list[str]:
    console = Console(file=io.StringIO(), width=200)
    with console.capture() as shown:
        console.print(view.table())
    return [line.rstrip() for line in shown.get().splitlines()]


def test_the_live_table_shows_the_study_below_the_trials(study: StudyProgress) -> None:
    view = LiveTable(Console(file=io.StringIO(), width=200))
    view.follow(study)
    view.on_session_start(3)
    try:
        run(view, 1, 11.0)
        lines = shown_lines(view)
    finally:
        view.close()
    assert lines[0].startswith("1 of 3 trials ended, 0 running")
    assert "about 2 min left, until" in lines[-3]
    assert "30 s per epoch, 1 trial at a time" in lines[-3]
    assert lines[-2:] == ["teacher: search/AP 20.0", "best so far: trial 0, search/AP 12.0, no control has finished"]


def run_of_race(view: PlainProgress | LiveTable, number: int, value: float) -> None:
    named = dataclasses.replace(spec(number), label=f"confirm-{number}-seed-2000")
    view.on_trial_start(named)
    view.on_trial_end(dataclasses.replace(record(number, value), label=named.label))


def test_a_race_after_the_search_counts_its_own_runs(study: StudyProgress) -> None:
    out = io.StringIO()
    view = PlainProgress(Console(file=out, width=200))
    view.follow(study)
    view.on_session_start(1)
    run(view, 1, 11.0)
    view.follow(None)
    view.on_session_start(49)
    run_of_race(view, 1, 14.0)
    assert out.getvalue().splitlines()[-1] == (
        "trial confirm-1-seed-2000: finished after 2 epochs, best search/AP 14.0  [1 of at most 49 runs ended]"
    )


def test_the_live_table_of_a_race_has_its_own_runs(study: StudyProgress) -> None:
    view = LiveTable(Console(file=io.StringIO(), width=200))
    view.follow(study)
    view.on_session_start(1)
    try:
        run(view, 1, 11.0)
        view.follow(None)
        view.on_session_start(49)
        run_of_race(view, 2, 14.0)
        lines = shown_lines(view)
    finally:
        view.close()
    assert lines[0].startswith("1 of at most 49 runs ended, 0 running")
    assert [line.split()[0] for line in lines[2:]] == ["confirm-2-seed-2000"]


def test_a_display_without_a_study_shows_no_time() -> None:
    out = io.StringIO()
    view = PlainProgress(Console(file=out, width=200))
    view.on_session_start(2)
    run(view, 1, 11.0)
    assert "left" not in out.getvalue()
    assert "best so far" not in out.getvalue()


@pytest.mark.parametrize("reason", ["[gloo] [/x]", "[red]lost", "[link=x", ":car: \\[/]"])
def test_a_reason_of_another_program_is_printed_as_it_is(reason: str) -> None:
    ended = dataclasses.replace(record(1, 11.0), outcome=Outcome.FAILED, reason=reason)
    console = make_console(width=200)
    table = LiveTable(console)
    for view in (PlainProgress(console), table):
        with console.capture() as shown:
            view.on_trial_start(spec(1))
            view.on_message(f"a message {reason}")
            view.on_trial_end(ended)
            console.print(table.table())
        table.close()
        assert f"a message {reason}" in shown.get()
    assert reason in shown.get().replace(f"a message {reason}", "")
