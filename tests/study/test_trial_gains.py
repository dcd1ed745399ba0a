"""Gains of trials: logged as soon as a control has finished, also for trials that ended before it."""

from __future__ import annotations

from pathlib import Path

import pytest

from distune.config.home import Home
from distune.records import Outcome, TrialRecord, TrialSpec, TrialState
from distune.study.create import create_study
from distune.study.engine import StudyEngine
from distune.study.session import run_session
from distune.study.status import read_study
from distune.study.trial_gains import TrialGains
from study.harness import METRIC, EngineHarness, MakeHarness, MakeLoaded, Witness, take, tell


def record(number: int, score: float, outcome: Outcome = Outcome.FINISHED) -> TrialRecord:
    return TrialRecord(
        number=number,
        state=TrialState.COMPLETE,
        outcome=outcome,
        control=number < 0,
        epochs=3,
        params={},
        metrics={METRIC: score},
        seed=0,
    )


def added(gains: TrialGains, *changes: TrialRecord) -> list[dict[str, float]]:
    return [{each.key: gain for each, gain in gains.add(change)} for change in changes]


def test_a_control_gives_all_trials_their_gain_and_a_second_one_changes_it() -> None:
    gains = TrialGains([record(0, 31.0)], METRIC)
    assert added(gains, record(1, 33.0), record(-1, 30.0), record(2, 29.0), record(-2, 32.0)) == [
        {},
        {"0": 1.0, "1": 3.0},
        {"2": -1.0},
        {"0": 0.0, "1": 2.0, "2": -2.0},
    ]


@pytest.mark.parametrize("outcome", [Outcome.STOPPED, Outcome.DIVERGED, Outcome.FAILED])
def test_only_trials_that_had_the_whole_budget_have_a_gain(outcome: Outcome) -> None:
    gains = TrialGains([record(-1, 30.0), record(0, 31.0)], METRIC)
    assert added(gains, record(1, 33.0, outcome), record(-2, 40.0, outcome)) == [{}, {}]
    assert gains.of(record(-1, 30.0)) is None


def run_all(harness: EngineHarness, engine: StudyEngine, spec: TrialSpec, score: float) -> None:
    for epoch in range(1, spec.num_epochs + 1):
        tell(harness, engine, spec, epoch, score)


def test_a_trial_that_ends_before_the_control_gets_its_gain_later(make_harness: MakeHarness) -> None:
    search = {"num_trials": 2, "controls": 1, "scheduler": {"kind": "none"}}
    harness = make_harness(search=search)
    engine = harness.engine()
    control, first, second = take(engine), take(engine), take(engine)
    assert control.control
    run_all(harness, engine, first, 33.0)
    assert harness.witness.logged == {}
    engine.interrupt()

    engine = harness.engine()
    control, second = take(engine), take(engine)
    run_all(harness, engine, control, 30.0)
    assert harness.witness.logged == {"0": {"gain/AP": 3.0}}
    run_all(harness, engine, second, 29.5)
    assert harness.witness.logged["1"] == {"gain/AP": -0.5}
    attributes = [trial.user_attrs for trial in harness.studies()[0].get_trials()]
    assert "gain" not in attributes[0]
    assert {name: attributes[1][name] for name in ("outcome", "gain", "epochs", "seed")} == {
        "outcome": "finished",
        "gain": -0.5,
        "epochs": second.num_epochs,
        "seed": second.seed,
    }


def test_at_its_end_a_session_logs_all_gains_of_the_table(tmp_path: Path, make_loaded: MakeLoaded) -> None:
    home = Home(tmp_path)
    folder = create_study(make_loaded(), home, name="one", simulate=True, runner="local", replace=False)
    first = Witness()
    run_session(folder, tracker=first, callback=first, teacher_weights=None)
    again = Witness()
    run_session(folder, tracker=again, callback=again, teacher_weights=None)
    status = read_study(home, "one")
    finished = [each.key for each in status.trials if each.outcome is Outcome.FINISHED and not each.control]
    for witness in (first, again):
        assert [key for key, figures in witness.logged.items() if "gain/AP" in figures] == finished
    control = status.trials[0].metrics[METRIC]
    for each in status.trials:
        if each.key in finished:
            assert again.logged[each.key]["gain/AP"] == pytest.approx(each.metrics[METRIC] - control)
