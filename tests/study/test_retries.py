"""Retries: once with an exclusive device after running out of memory, and after a worker was lost."""

from __future__ import annotations

import json

import pytest
from filelock import FileLock

from distune.records import EpochReport, Outcome, TrialSpec, TrialState
from distune.study.failures.retries import Company, Retry, describe_retry, may_retry, needs_exclusive_device
from distune.study.runners.simulation import ENVIRONMENT_VARIABLE
from distune.study.storage.optuna_storage import stopped_error
from study.harness import METRIC, EngineHarness, MakeHarness, take, tell

MEMORY = "out of memory: CUDA out of memory. Tried to allocate 2 GiB"
LOST = "worker died: its node has gone away"


def retries(*reasons_and_epochs: tuple[str, int]) -> list[Retry]:
    return [Retry(reason=reason, epochs=epochs) for reason, epochs in reasons_and_epochs]


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
def test_which_failures_are_retried(earlier: list[tuple[str, int]], reason: str, epochs: int, expected: bool) -> None:
    (retry,) = retries((reason, epochs))
    assert may_retry(retry, retries(*earlier)) is expected


def test_only_lack_of_memory_requires_an_exclusive_device() -> None:
    assert needs_exclusive_device(retries((LOST, 1), (MEMORY, 2)))
    assert not needs_exclusive_device(retries((LOST, 1)))
    assert "once more, alone on its device, after epoch 2" in describe_retry("4", *retries((MEMORY, 2)))
    assert "retrying with another worker, after epoch 1" in describe_retry("4", *retries((LOST, 1)))


def test_out_of_memory_once_changes_no_result(make_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed = make_harness()
    undisturbed.run()
    faults = {"2": {"epoch": 1, "kind": "out_of_memory", "once": True}}
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, json.dumps({"faults": faults}))
    harness = make_harness()
    harness.trials = harness.trials.with_name("disturbed")
    harness.run()
    assert {n: (t.state, t.params, t.scores) for n, t in harness.known().items()} == {
        n: (t.state, t.params, t.scores) for n, t in undisturbed.known().items()
    }
    assert harness.known()[2].retries == tuple(retries(("out of memory: simulated in epoch 1", 0)))
    assert any("trial 2: out of memory" in text for text in harness.witness.messages)
    assert ("2", "error.txt", "") in harness.witness.files, "its traceback is an artifact, though it ended well"


def test_out_of_memory_alone_fails_the_trial(make_harness: MakeHarness) -> None:
    harness = make_harness()
    engine = harness.engine()
    control, spec = take(engine), take(engine)
    tell(harness, engine, spec, 1, 20.0)
    assert engine.company_of(spec.key) is not Company.ALONE
    engine.fail(spec.key, MEMORY)
    assert spec.key in engine.in_flight
    assert engine.company_of(spec.key) is Company.ALONE
    assert engine.company_of(control.key) is not Company.ALONE
    assert take(engine) == spec, "it is the next to be worked on"
    engine.fail(spec.key, MEMORY)
    assert harness.known()[0].state is TrialState.FAIL
    assert harness.known()[0].reason == MEMORY
    assert harness.witness.outcomes() == {"0": Outcome.FAILED}
    assert take(engine).number == 1


@pytest.mark.parametrize("is_given_out", [True, False])
def test_a_later_session_knows_that_a_trial_needs_an_exclusive_device(
    make_harness: MakeHarness, is_given_out: bool
) -> None:
    harness = make_harness()
    engine = harness.engine()
    take(engine)
    spec = take(engine)
    tell(harness, engine, spec, 1, 20.0)
    engine.fail(spec.key, MEMORY)
    if is_given_out:
        take(engine)
    engine.interrupt()
    again = harness.engine()
    take(again)
    assert take(again).key == spec.key
    assert again.company_of(spec.key) is Company.ALONE
    again.fail(spec.key, MEMORY)
    assert harness.known()[0].state is TrialState.FAIL


def test_retries_that_an_earlier_version_recorded_are_read(make_harness: MakeHarness) -> None:
    harness = make_harness()
    engine = harness.engine()
    take(engine)
    take(engine)
    engine.interrupt()
    trial_id = harness.storage.get_all_trials(harness.studies()[0]._study_id)[0]._trial_id
    harness.storage.set_trial_user_attr(trial_id, "setbacks", [{"reason": MEMORY, "epochs": 1}])
    assert harness.known()[0].retries == tuple(retries((MEMORY, 1)))
    again = harness.engine()
    take(again)
    spec = take(again)
    assert again.company_of(spec.key) is Company.ALONE
    again.fail(spec.key, LOST)
    assert harness.known()[0].retries == tuple(retries((MEMORY, 1), (LOST, 0)))


def test_a_trial_continues_as_long_as_each_worker_gets_further(make_harness: MakeHarness) -> None:
    harness = make_harness()
    engine = harness.engine()
    take(engine)
    spec = take(engine)
    for epoch in (1, 2):
        tell(harness, engine, spec, epoch, 20.0)
        engine.fail(spec.key, LOST)
        assert take(engine) == spec
        assert engine.company_of(spec.key) is not Company.ALONE
    engine.fail(spec.key, LOST)
    assert harness.known()[0].state is TrialState.FAIL
    assert harness.known()[0].scores == {1: 20.0, 2: 20.0}
    assert harness.studies()[0].trials[0].user_attrs["retries"] == [
        {"reason": LOST, "epochs": 1},
        {"reason": LOST, "epochs": 2},
    ]


def append_unreported(harness: EngineHarness, spec: TrialSpec, *epochs: int) -> None:
    """Write epochs into the folder as a worker that died before it could report them."""
    for epoch in epochs:
        harness.folder(spec.key).append(EpochReport(epoch=epoch, metrics={METRIC: 20.0 + epoch}, finished_at=1.0))


def test_epochs_that_a_failed_worker_has_not_reported_are_recorded(make_harness: MakeHarness) -> None:
    harness = make_harness(training={"epochs": 5}, search={"scheduler": {"kind": "none"}})
    engine = harness.engine()
    take(engine)
    spec = take(engine)
    tell(harness, engine, spec, 1, 21.0)
    append_unreported(harness, spec, 2)
    engine.fail(spec.key, LOST)
    assert harness.known()[0].retries == tuple(retries((LOST, 2)))
    take(engine)
    append_unreported(harness, spec, 3)
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
    append_unreported(harness, spec, 1, 2)
    engine.fail(spec.key, LOST)
    assert harness.known()[0].state is TrialState.COMPLETE
    assert harness.witness.outcomes() == {"0": Outcome.FINISHED}


def test_a_folder_that_another_process_holds_ends_the_session(
    make_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distune.study.runners.trial_attempt.TAKEOVER_TIMEOUT_S", 0.0)
    harness = make_harness(search={"num_trials": 2})
    folder = harness.folder("0").path
    engine = harness.engine()
    locks = []
    real = harness.witness.on_trial_start

    def started(spec: TrialSpec) -> None:
        real(spec)
        if spec.key == "0":
            locks.append(FileLock(folder / "work.lock"))
            locks[0].acquire()

    monkeypatch.setattr(harness.witness, "on_trial_start", started)
    harness.run(engine)
    assert engine.blocking_error == f"trial 0: busy: another process still works on {folder}"
    assert "stop that process, then run: distune resume one" in str(stopped_error("one", engine.blocking_error))
    engine.interrupt()
    assert harness.known()[0].state is TrialState.RUNNING
    locks[0].release()
    monkeypatch.undo()
    harness.run()
    assert TrialState.FAIL not in harness.states()


def test_an_error_of_the_disk_ends_the_session(make_harness: MakeHarness) -> None:
    harness = make_harness()
    engine = harness.engine()
    control, spec = take(engine), take(engine)
    engine.fail(spec.key, "storage: [Errno 28] No space left on device: 'last.pt'")
    assert engine.blocking_error == "trial 0: storage: [Errno 28] No space left on device: 'last.pt'"
    assert engine.failure is None
    assert engine.next_trial() is None
    engine.interrupt()
    assert not engine.is_done
    assert harness.witness.outcomes() == {control.key: Outcome.INTERRUPTED, spec.key: Outcome.INTERRUPTED}
    again = harness.engine()
    assert [take(again).key, take(again).key] == [control.key, spec.key]
