"""Trials that are tried again: once alone after running out of memory, and after a worker was lost."""

from __future__ import annotations

import json

import pytest
from filelock import FileLock

from distune.records import EpochReport, Outcome, TrialSpec, TrialState
from distune.study.failures.retries import Setback, describe_setback, may_try_again, must_be_alone
from distune.study.runners.simulation import ENVIRONMENT_VARIABLE
from distune.study.storage.optuna_storage import stopped_error
from study.harness import METRIC, EngineHarness, MakeHarness, take, tell

MEMORY = "out of memory: CUDA out of memory. TriedConfigurations to allocate 2 GiB"
LOST = "worker died: its node has gone away"


def setbacks(*reasons_and_epochs: tuple[str, int]) -> list[Setback]:
    return [Setback(reason=reason, epochs=epochs) for reason, epochs in reasons_and_epochs]


@pytest.mark.parametrize(
    ("earlier", "reason", "epochs", "expected"),
    [
        ([], MEMORY, 3, True),
        ([(MEMORY, 3)], MEMORY, 3, False),
        ([(MEMORY, 3)], MEMORY, 8, False),
        ([(LOST, 3)], MEMORY, 3, True),
        ([], LOST, 0, True),
        ([(LOST, 2)], LOST, 2, False),
        ([(LOST, 2)], LOST, 3, True),
        ([(LOST, 2), (LOST, 3)], LOST, 3, False),
        ([(MEMORY, 5)], LOST, 5, True),
        ([], "bug: KeyError: 'boxes'", 1, False),
        ([], "data: a.jpg: corrupt", 1, False),
        ([], "timeout: an epoch took more than resources.epoch_timeout_s = 5", 1, False),
    ],
)
def test_who_is_tried_again(earlier: list[tuple[str, int]], reason: str, epochs: int, expected: bool) -> None:
    (setback,) = setbacks((reason, epochs))
    assert may_try_again(setback, setbacks(*earlier)) is expected


def test_only_lack_of_memory_makes_lonely() -> None:
    assert must_be_alone(setbacks((LOST, 1), (MEMORY, 2)))
    assert not must_be_alone(setbacks((LOST, 1)))
    assert "once more, alone on its device, after epoch 2" in describe_setback("4", *setbacks((MEMORY, 2)))
    assert "again, with another worker, after epoch 1" in describe_setback("4", *setbacks((LOST, 1)))


def test_out_of_memory_once_costs_nothing(make_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed = make_harness()
    undisturbed.run()
    mishaps = {"2": {"epoch": 1, "kind": "out_of_memory", "once": True}}
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, json.dumps({"mishaps": mishaps}))
    harness = make_harness()
    harness.trials = harness.trials.with_name("disturbed")
    harness.run()
    assert {n: (t.state, t.params, t.scores) for n, t in harness.known().items()} == {
        n: (t.state, t.params, t.scores) for n, t in undisturbed.known().items()
    }
    assert harness.known()[2].setbacks == tuple(setbacks(("out of memory: simulated in epoch 1", 0)))
    assert any("trial 2: out of memory" in text for text in harness.witness.messages)
    assert ("2", "error.txt", "") in harness.witness.files, "its traceback is an artifact, though it ended well"


def test_out_of_memory_alone_fails_the_trial(make_harness: MakeHarness) -> None:
    harness = make_harness()
    engine = harness.engine()
    control, spec = take(engine), take(engine)
    tell(harness, engine, spec, 1, 20.0)
    assert not engine.is_alone(spec.key)
    engine.fail(spec.key, MEMORY)
    assert spec.key in engine.in_flight
    assert engine.is_alone(spec.key)
    assert not engine.is_alone(control.key)
    assert take(engine) == spec, "it is the next to be worked on"
    engine.fail(spec.key, MEMORY)
    assert harness.known()[0].state is TrialState.FAIL
    assert harness.known()[0].reason == MEMORY
    assert harness.witness.outcomes() == {"0": Outcome.FAILED}
    assert take(engine).number == 1


@pytest.mark.parametrize("is_taken_up", [True, False])
def test_a_later_session_knows_that_a_trial_must_be_alone(make_harness: MakeHarness, is_taken_up: bool) -> None:
    harness = make_harness()
    engine = harness.engine()
    take(engine)
    spec = take(engine)
    tell(harness, engine, spec, 1, 20.0)
    engine.fail(spec.key, MEMORY)
    if is_taken_up:
        take(engine)
    engine.interrupt()
    again = harness.engine()
    take(again)
    assert take(again).key == spec.key
    assert again.is_alone(spec.key)
    again.fail(spec.key, MEMORY)
    assert harness.known()[0].state is TrialState.FAIL


def test_a_trial_goes_on_as_long_as_its_workers_come_further(make_harness: MakeHarness) -> None:
    harness = make_harness()
    engine = harness.engine()
    take(engine)
    spec = take(engine)
    for epoch in (1, 2):
        tell(harness, engine, spec, epoch, 20.0)
        engine.fail(spec.key, LOST)
        assert take(engine) == spec
        assert not engine.is_alone(spec.key)
    engine.fail(spec.key, LOST)
    assert harness.known()[0].state is TrialState.FAIL
    assert harness.known()[0].scores == {1: 20.0, 2: 20.0}
    assert harness.studies()[0].trials[0].user_attrs["retries"] == [
        {"reason": LOST, "epochs": 1},
        {"reason": LOST, "epochs": 2},
    ]


def unheard(harness: EngineHarness, spec: TrialSpec, *epochs: int) -> None:
    """Epochs that the worker has put into the folder, and could not report any more."""
    for epoch in epochs:
        harness.folder(spec.key).append(EpochReport(epoch=epoch, metrics={METRIC: 20.0 + epoch}, finished_at=1.0))


def test_epochs_that_a_failed_trial_has_not_reported_are_on_record(make_harness: MakeHarness) -> None:
    harness = make_harness(training={"epochs": 5}, search={"scheduler": {"kind": "none"}})
    engine = harness.engine()
    take(engine)
    spec = take(engine)
    tell(harness, engine, spec, 1, 21.0)
    unheard(harness, spec, 2)
    engine.fail(spec.key, LOST)
    assert harness.known()[0].setbacks == tuple(setbacks((LOST, 2)))
    take(engine)
    unheard(harness, spec, 3)
    engine.fail(spec.key, "timeout: an epoch took more than resources.epoch_timeout_s = 5")
    assert harness.known()[0].state is TrialState.FAIL
    assert harness.known()[0].scores == {1: 21.0, 2: 22.0, 3: 23.0}
    assert harness.witness.points == [("0", 1), ("0", 2), ("0", 3)]
    assert (harness.witness.records[-1].epochs, harness.witness.records[-1].metrics) == (3, {METRIC: 23.0})


def test_a_worker_that_dies_after_the_last_epoch_has_done_its_work(make_harness: MakeHarness) -> None:
    harness = make_harness(training={"epochs": 2}, search={"scheduler": {"kind": "none"}})
    engine = harness.engine()
    take(engine)
    spec = take(engine)
    unheard(harness, spec, 1, 2)
    engine.fail(spec.key, LOST)
    assert harness.known()[0].state is TrialState.COMPLETE
    assert harness.witness.outcomes() == {"0": Outcome.FINISHED}


def test_a_folder_that_another_process_works_on_is_nobody_s_fault(
    make_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distune.study.runners.trial_attempt._TAKEOVER_TIMEOUT_S", 0.0)
    harness = make_harness(search={"num_trials": 2})
    folder = harness.folder("0").path
    engine = harness.engine()
    locks = []
    real = harness.witness.trial_started

    def started(spec: TrialSpec) -> None:
        real(spec)
        if spec.key == "0":
            locks.append(FileLock(folder / "work.lock"))
            locks[0].acquire()

    monkeypatch.setattr(harness.witness, "trial_started", started)
    harness.run(engine)
    assert engine.blocking_error == f"trial 0: busy: another process still works on {folder}"
    assert "stop that process, then run: distune resume one" in str(stopped_error("one", engine.blocking_error))
    engine.interrupt()
    assert harness.known()[0].state is TrialState.RUNNING
    locks[0].release()
    monkeypatch.undo()
    harness.run()
    assert TrialState.FAIL not in harness.states()


def test_trouble_with_the_disk_is_nobody_s_fault(make_harness: MakeHarness) -> None:
    harness = make_harness()
    engine = harness.engine()
    control, spec = take(engine), take(engine)
    engine.fail(spec.key, "storage: [Errno 28] No space left on device: 'last.pt'")
    assert engine.blocking_error == "trial 0: storage: [Errno 28] No space left on device: 'last.pt'"
    assert engine.failure is None
    assert engine.next_trial() is None
    engine.interrupt()
    assert not engine.is_over
    assert harness.witness.outcomes() == {control.key: Outcome.INTERRUPTED, spec.key: Outcome.INTERRUPTED}
    again = harness.engine()
    assert [take(again).key, take(again).key] == [control.key, spec.key]
