"""Killed sessions: nothing is lost or repeated, and the study ends like one that was never interrupted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from distune.errors import StudyError
from distune.records import EpochReport, Outcome, TrialState
from distune.study.callback import Decision
from distune.study.failures.reasons import MAX_SAME_FAILURES
from distune.study.runners.simulation import ENVIRONMENT_VARIABLE
from study.harness import METRIC, SPACE, EngineHarness, MakeHarness, MakeLoaded, take, tell


class Crash(BaseException):
    """Simulates a driver that is killed."""


@pytest.fixture(scope="module")
def undisturbed(make_loaded: MakeLoaded, tmp_path_factory: pytest.TempPathFactory) -> EngineHarness:
    """A study of seven trials that has run without an interruption."""
    harness = EngineHarness(make_loaded(search={"num_trials": 7}), tmp_path_factory.mktemp("undisturbed"))
    harness.run()
    return harness


@pytest.mark.parametrize("where", ["log_epoch", "end_trial", "report", "announce_ending", "end"])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_driver_killed_between_any_two_records_loses_and_repeats_nothing(
    make_harness: MakeHarness,
    undisturbed: EngineHarness,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    after: int,
) -> None:
    """Kill the driver just before the n-th write of a kind, resume, and compare with an undisturbed study."""
    expected = {number: (trial.state, trial.params, trial.scores) for number, trial in undisturbed.known().items()}
    harness = make_harness(search={"num_trials": 7})
    harness.trials = harness.trials.with_name("disturbed")
    engine = harness.engine()
    target = harness.witness if where in ("log_epoch", "end_trial") else engine._trial_store
    real = getattr(target, where)
    calls = 0

    def killed(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > after:
            raise Crash
        real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(target, where, killed)
        with pytest.raises(Crash):
            harness.run(engine)
    harness.run()
    got = {number: (trial.state, trial.params, trial.scores) for number, trial in harness.known().items()}
    assert got == expected
    assert set(harness.witness.points) == set(undisturbed.witness.points)
    assert harness.witness.outcomes() == undisturbed.witness.outcomes()


@pytest.mark.parametrize("scheduler", [{"kind": "asha", "grace_epochs": 1}, {"kind": "median", "min_trials": 1}])
def test_the_last_epoch_is_recorded_although_the_driver_was_killed_after_announcing_the_ending(
    make_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch, scheduler: dict[str, Any]
) -> None:
    """Each session of the second study is killed between the two writes, as often as there are such writes."""
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, json.dumps({"faults": {"2": {"epoch": 2, "kind": "nan"}}}))
    undisturbed = make_harness(search={"num_trials": 9, "scheduler": scheduler})
    undisturbed.run()
    harness = make_harness(search={"num_trials": 9, "scheduler": scheduler})
    harness.trials = harness.trials.with_name("disturbed")
    kills = 0
    for _ in range(20):
        engine = harness.engine()
        announce = engine._trial_store.announce_ending

        def announce_and_die(*arguments: Any, announce: Any = announce) -> None:
            announce(*arguments)
            raise Crash

        with monkeypatch.context() as patch:
            patch.setattr(engine._trial_store, "announce_ending", announce_and_die)
            try:
                harness.run(engine)
            except Crash:
                kills += 1
            else:
                break
    assert kills >= 3
    assert undisturbed.witness.outcomes()["2"] is Outcome.DIVERGED
    assert repr({n: (t.state, t.outcome, t.params, t.scores) for n, t in harness.known().items()}) == repr(
        {n: (t.state, t.outcome, t.params, t.scores) for n, t in undisturbed.known().items()}
    ), "NaN included"
    assert set(harness.witness.points) == set(undisturbed.witness.points)
    assert sorted(harness.witness.decisions) == sorted(undisturbed.witness.decisions)
    for record in harness.witness.records:
        best = max(harness.folder(record.key).reports(), key=lambda report: report.metrics[METRIC])
        assert record.best_at == best.finished_at, "also when it is recorded twice"
    last = {record.key: (record.outcome, record.epochs, record.rung) for record in harness.witness.records}
    assert last == {record.key: (record.outcome, record.epochs, record.rung) for record in undisturbed.witness.records}


@pytest.mark.parametrize("epochs", [1, 4, 10, 17])
def test_many_short_sessions_equal_one_long_one(
    make_harness: MakeHarness, undisturbed: EngineHarness, epochs: int
) -> None:
    harness = make_harness(search={"num_trials": 7})
    harness.trials = harness.trials.with_name("in-parts")
    engine = harness.engine()
    for _ in range(200):
        harness.run(engine, stop_after_epochs=epochs)
        engine.interrupt()
        engine = harness.engine()
        if engine.is_done:
            break
    assert engine.is_done
    assert {n: (t.state, t.params, t.scores) for n, t in harness.known().items()} == {
        n: (t.state, t.params, t.scores) for n, t in undisturbed.known().items()
    }
    assert sorted(harness.witness.decisions) == sorted(undisturbed.witness.decisions)


def test_an_interrupted_trial_stays_running_in_optuna_and_is_resumed_first(make_harness: MakeHarness) -> None:
    harness = make_harness()
    engine = harness.engine()
    control, first = take(engine), take(engine)
    tell(harness, engine, first, 1, 20.0)
    engine.interrupt()
    assert harness.witness.outcomes() == {"control-1": Outcome.INTERRUPTED, "0": Outcome.INTERRUPTED}
    assert harness.known()[0].state is harness.known()[-1].state is TrialState.RUNNING
    assert not engine.is_done
    assert engine.next_trial() is None
    assert tell(harness, engine, first, 2, 20.0) is Decision.STOP
    again = harness.engine()
    assert [take(again).key, take(again).key] == ["control-1", "0"]
    assert take(again).number == 1
    assert tell(harness, again, control, 1, 5.0) is Decision.CONTINUE


def test_unfinished_trials_that_were_not_resumed_are_recorded_as_interrupted(make_harness: MakeHarness) -> None:
    harness = make_harness()
    engine = harness.engine()
    take(engine)
    first = take(engine)
    for epoch in (1, 2):
        tell(harness, engine, first, epoch, 20.0 + epoch)
    again = harness.engine()
    again.interrupt()
    assert harness.witness.outcomes() == {"control-1": Outcome.INTERRUPTED, "0": Outcome.INTERRUPTED}
    record = harness.witness.records[-1]
    assert (record.key, record.epochs, record.metrics, record.rung) == ("0", 2, {METRIC: 22.0}, 1)
    assert take(harness.engine()).key == "control-1"
    assert first.params == harness.known()[0].params


def test_epochs_that_only_the_folder_knows_are_recorded(make_harness: MakeHarness) -> None:
    harness = make_harness(training={"epochs": 3}, search={"scheduler": {"kind": "none"}, "num_trials": 1})
    engine = harness.engine()
    take(engine)
    spec = take(engine)
    tell(harness, engine, spec, 1, 20.0)
    for epoch in (2, 3):
        harness.folder(spec.key).append(EpochReport(epoch=epoch, metrics={METRIC: 20.0 + epoch}, finished_at=1.0))
    again = harness.engine()
    assert take(again).key == "control-1"
    assert again.next_trial() is None, "the trial has all its epochs and needs no worker"
    assert harness.known()[0].state is TrialState.COMPLETE
    assert harness.known()[0].scores == {1: 20.0, 2: 22.0, 3: 23.0}
    assert harness.studies()[0].trials[0].value == 23.0


def test_a_trial_cut_off_before_it_had_all_its_parameters_keeps_those_it_had(make_harness: MakeHarness) -> None:
    harness = make_harness(search={"defaults_first": False})
    trial = harness.studies()[0].ask()
    value = trial.suggest_float("distillation.global_knowledge.weight", 0.5, 50.0, log=True)
    engine = harness.engine()
    spec = take(engine)
    assert spec.number == 0
    assert spec.params["distillation.global_knowledge.weight"] == value
    assert set(spec.params) == set(harness.loaded.searched)


def test_files_in_the_folder_of_a_new_trial_are_removed(make_harness: MakeHarness) -> None:
    harness = make_harness()
    harness.folder("0").path.mkdir(parents=True)
    (harness.folder("0").path / "error.txt").touch()
    engine = harness.engine()
    take(engine)
    take(engine)
    assert [path.name for path in harness.folder("0").path.iterdir()] == ["trial.json"]


def test_an_epoch_in_the_folder_of_a_new_trial_is_not_removed(make_harness: MakeHarness) -> None:
    harness = make_harness()
    harness.folder("0").append(EpochReport(epoch=1, metrics={METRIC: 90.0}, finished_at=1.0))
    engine = harness.engine()
    take(engine)
    with pytest.raises(StudyError, match="lack trial 0, which was trained"):
        take(engine)
    assert len(harness.folder("0").reports()) == 1


def test_failures_in_a_row_are_counted_over_sessions(make_harness: MakeHarness) -> None:
    """Otherwise a study that is interrupted often enough would fail all its trials and never be aborted."""
    harness = make_harness(search={"num_trials": 30})
    engine = harness.engine()
    take(engine)
    for _ in range(MAX_SAME_FAILURES - 1):
        engine.fail(take(engine).key, "bug: RuntimeError: simulated error in epoch 1")
    engine.interrupt()
    assert engine.failure is None
    again = harness.engine()
    take(again)
    again.fail(take(again).key, "bug: RuntimeError: simulated error in epoch 2")
    assert "10 trials in a row" in (again.failure or "")
    again.interrupt()
    third = harness.engine()
    take(third)
    third.fail(take(third).key, "bug: RuntimeError: simulated error in epoch 2")
    assert third.failure is None, "the user resumes after a fix"


def test_a_trial_cut_off_before_its_file_was_written_gets_it(make_harness: MakeHarness) -> None:
    harness = make_harness()
    engine = harness.engine()
    take(engine)
    spec = take(engine)
    (harness.trials / "0" / "trial.json").unlink()
    again = harness.engine()
    take(again)
    take(again)
    assert json.loads((harness.trials / "0" / "trial.json").read_text())["params"] == spec.params


@pytest.mark.parametrize("number", [0, 1, 6])
@pytest.mark.parametrize("num_chosen", [0, 1, 2, 3])
def test_a_trial_cut_off_while_its_values_were_chosen_gets_the_same_ones(
    make_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch, number: int, num_chosen: int
) -> None:
    """The values of the experiment, those of the first random samples, and those of the sampler's model."""
    undisturbed = make_harness(search={"num_trials": 7})
    undisturbed.run()
    harness = make_harness(search={"num_trials": 7})
    harness.trials = harness.trials.with_name("disturbed")
    real = harness.storage.set_trial_param
    calls = 0

    def killed(*arguments: Any) -> None:
        nonlocal calls
        if calls == number * len(SPACE["parameters"]) + num_chosen:
            raise Crash
        calls += 1
        real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(harness.storage, "set_trial_param", killed)
        with pytest.raises(Crash):
            harness.run()
    assert len(harness.known()[number].params) == num_chosen
    harness.run()
    assert {n: t.params for n, t in harness.known().items()} == {n: t.params for n, t in undisturbed.known().items()}
