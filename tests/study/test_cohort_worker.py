"""A worker that trains several trials: who waits for whom, joining, leaving, time limits and corrupted processes."""

from __future__ import annotations

import dataclasses
import errno
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock

from distune.records import TrialSpec
from distune.study.failures.retries import Company
from distune.study.runners import cohort_worker
from distune.study.runners.cohort_attempt import CohortAttempt
from distune.study.runners.cohort_worker import CohortWorker, active_file, ended_alone
from distune.study.runners.simulation import ENVIRONMENT_VARIABLE
from distune.study.runners.trial_attempt import StepResult
from study.harness import MakeHarness, take

Step = Callable[..., "Future[StepResult]"]


@pytest.fixture
def callers() -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(8)
    yield pool
    pool.shutdown(wait=False, cancel_futures=True)


@pytest.fixture
def specs(make_harness: MakeHarness) -> list[TrialSpec]:
    """A control and three trials."""
    engine = make_harness().engine()
    return [take(engine) for _ in range(4)]


@pytest.fixture
def ended() -> threading.Event:
    """Is set when a worker ends its process."""
    return threading.Event()


@pytest.fixture
def worker(ended: threading.Event) -> CohortWorker:
    """Its first epoch waits for two trials."""
    return CohortWorker(size=4, num_first=2, simulate=True, end_process=ended.set)


@pytest.fixture
def step_of_one(callers: ThreadPoolExecutor, ended: threading.Event) -> Step:
    """A worker whose first epoch waits for no other trial."""
    worker = CohortWorker(size=4, num_first=0, simulate=True, end_process=ended.set)
    return lambda spec: callers.submit(worker.step, spec, Company.SHARED)


@pytest.fixture
def step(worker: CohortWorker, callers: ThreadPoolExecutor) -> Step:
    def start(spec: TrialSpec, company: Company = Company.SHARED) -> Future[StepResult]:
        return callers.submit(worker.step, spec, company)

    return start


def with_time_limit(specs: list[TrialSpec]) -> list[TrialSpec]:
    """For tests of epochs that hang; any other epoch may take longer than this on a loaded machine."""
    resources = {**specs[0].experiment["resources"], "epoch_timeout_s": 0.5}
    return [dataclasses.replace(spec, experiment={**spec.experiment, "resources": resources}) for spec in specs]


def inject(monkeypatch: pytest.MonkeyPatch, **kinds: str) -> None:
    faults = {key.lstrip("_"): {"epoch": 2, "kind": kind} for key, kind in kinds.items()}
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, json.dumps({"faults": faults}))


def epochs_of(result: StepResult) -> list[int]:
    assert result.failure is None, result.failure
    return [report.epoch for report in result.reports]


def test_an_epoch_waits_for_all_trials(specs: list[TrialSpec], step: Step) -> None:
    one, two = step(specs[0]), step(specs[1])
    assert epochs_of(one.result(5)) == epochs_of(two.result(5)) == [1]
    one = step(specs[0])
    time.sleep(0.2)
    assert not one.done(), "the other trial may still ask for an epoch"
    two = step(specs[1])
    assert epochs_of(one.result(5)) == epochs_of(two.result(5)) == [2]


def test_the_others_go_on_when_a_trial_leaves(worker: CohortWorker, specs: list[TrialSpec], step: Step) -> None:
    for future in [step(specs[0]), step(specs[1])]:
        future.result(5)
    one = step(specs[0])
    time.sleep(0.1)
    worker.leave(specs[1].key)
    assert epochs_of(one.result(5)) == [2]
    worker.leave("unknown")


def test_a_retry_is_not_disturbed_by_the_end_of_the_first_visit(
    worker: CohortWorker, callers: ThreadPoolExecutor, specs: list[TrialSpec], step: Step
) -> None:
    for future in [step(specs[0]), step(specs[1])]:
        future.result(5)
    first = callers.submit(worker.step, specs[1], Company.SHARED)
    time.sleep(0.1)
    assert not first.done(), "the other trial may still ask for an epoch"
    again = callers.submit(worker.step, specs[1], Company.SHARED, 1)
    assert first.result(5) == StepResult(), "its visit has ended"
    worker.leave(specs[1].key)
    other = step(specs[0])
    assert epochs_of(again.result(5)) == [1], "the epoch that is on record"
    again = callers.submit(worker.step, specs[1], Company.SHARED, 1)
    assert epochs_of(other.result(5)) == epochs_of(again.result(5)) == [2]
    worker.leave(specs[1].key, 1)
    assert epochs_of(step(specs[0]).result(5)) == [3]


def test_an_epoch_of_an_earlier_visit_is_no_result_of_a_retry(
    monkeypatch: pytest.MonkeyPatch, worker: CohortWorker, callers: ThreadPoolExecutor, specs: list[TrialSpec]
) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, json.dumps({"epoch_s": 0.3}))
    control = callers.submit(worker.step, specs[0], Company.SHARED)
    first = callers.submit(worker.step, specs[1], Company.SHARED)
    time.sleep(0.1)  # the epoch has begun
    again = callers.submit(worker.step, specs[1], Company.SHARED, 1)
    assert first.result(5) == StepResult()
    assert epochs_of(control.result(5)) == [1]
    assert not again.done()
    control = callers.submit(worker.step, specs[0], Company.SHARED)
    assert epochs_of(again.result(5)) == [1], "the epoch that is on record"
    again = callers.submit(worker.step, specs[1], Company.SHARED, 1)
    assert epochs_of(control.result(5)) == epochs_of(again.result(5)) == [2]


def test_a_trial_joins_the_others(specs: list[TrialSpec], step_of_one: Step) -> None:
    step_of_one(specs[0]).result(5)
    futures = [step_of_one(specs[1]), step_of_one(specs[0])]
    assert [epochs_of(future.result(5)) for future in futures] == [[1], [2]]


def test_the_first_epoch_waits_for_the_trials_that_start_together(specs: list[TrialSpec], step: Step) -> None:
    one = step(specs[0])
    time.sleep(0.3)
    assert not one.done()
    two = step(specs[1])
    assert epochs_of(one.result(5)) == epochs_of(two.result(5)) == [1]


def test_an_error_ends_one_trial(monkeypatch: pytest.MonkeyPatch, specs: list[TrialSpec], step: Step) -> None:
    inject(monkeypatch, _0="error")
    for _ in range(2):
        control, trial = [future.result(5) for future in [step(specs[0]), step(specs[1])]]
    assert epochs_of(control) == [2]
    assert trial == StepResult(failure="bug: RuntimeError: simulated error in epoch 2")
    assert "simulated error" in (Path(specs[1].folder) / "error.txt").read_text()
    assert epochs_of(step(specs[0]).result(5)) == [3]


def test_a_trial_that_must_be_alone_pauses_the_others(worker: CohortWorker, specs: list[TrialSpec], step: Step) -> None:
    control, trial = step(specs[0]), step(specs[1], Company.ALONE)
    assert epochs_of(trial.result(5)) == [1]
    assert not control.done()
    assert epochs_of(step(specs[1]).result(5)) == [2]
    worker.leave(specs[1].key)
    assert epochs_of(control.result(5)) == [1]


def test_a_suspect_is_alone_for_an_epoch(specs: list[TrialSpec], step: Step) -> None:
    control, trial = step(specs[0]), step(specs[1], Company.ALONE_FOR_AN_EPOCH)
    assert epochs_of(trial.result(5)) == [1]
    trial = step(specs[1])
    assert [epochs_of(each.result(5)) for each in (control, trial)] == [[1], [2]]


def test_a_paused_trial_continues_where_it_was(worker: CohortWorker, specs: list[TrialSpec], step: Step) -> None:
    for future in [step(specs[0]), step(specs[1])]:
        future.result(5)
    worker.leave(specs[1].key)
    control, trial = step(specs[0]), step(specs[2], Company.ALONE)
    trial.result(5)
    worker.leave(specs[2].key)
    assert epochs_of(control.result(5)) == [2]


def test_a_hanging_epoch_ends_the_process_and_makes_all_suspects(
    monkeypatch: pytest.MonkeyPatch, specs: list[TrialSpec], step: Step, ended: threading.Event
) -> None:
    inject(monkeypatch, _0="hang")
    specs = with_time_limit(specs)
    for future in [step(specs[0]), step(specs[1])]:
        future.result(5)
    results = [future.result(10) for future in [step(specs[0]), step(specs[1])]]
    reason = "worker died: timeout: an epoch took more than resources.epoch_timeout_s = 0.5 for each trial"
    assert all(result.in_company and (result.failure or "").startswith(reason) for result in results)
    assert ended.wait(5)
    assert "simulation.py" in (Path(specs[1].folder) / "error.txt").read_text()


def test_an_epoch_that_hangs_after_its_first_trial_has_left_ends_the_others(
    worker: CohortWorker,
    specs: list[TrialSpec],
    step: Step,
    ended: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inject(monkeypatch, _0="hang")
    specs = with_time_limit(specs)
    first, second = step(specs[0]), step(specs[1])
    first.result(5), second.result(5)
    first, second = step(specs[0]), step(specs[1])
    time.sleep(0.3)
    worker.leave(specs[0].key)
    assert (second.result(5).failure or "").startswith("worker died: timeout")
    assert ended.wait(5)


def test_a_trial_that_hangs_alone_is_the_cause(
    monkeypatch: pytest.MonkeyPatch, specs: list[TrialSpec], step_of_one: Step, ended: threading.Event
) -> None:
    inject(monkeypatch, _0="hang")
    specs = with_time_limit(specs)
    step_of_one(specs[1]).result(5)
    result = step_of_one(specs[1]).result(10)
    assert result == StepResult(failure="timeout: an epoch took more than resources.epoch_timeout_s = 0.5")
    assert ended.wait(5)


def test_a_corrupted_process_ends_and_keeps_the_epochs_that_are_done(
    monkeypatch: pytest.MonkeyPatch, specs: list[TrialSpec], step: Step, ended: threading.Event
) -> None:
    inject(monkeypatch, _0="device_error")
    for future in [step(specs[0]), step(specs[1])]:
        future.result(5)
    control, trial = [future.result(5) for future in [step(specs[0]), step(specs[1])]]
    reason = "worker died: bug: RuntimeError: CUDA error: simulated in epoch 2"
    assert (trial.failure, trial.in_company) == (reason, True)
    assert (control.failure, control.in_company) == (reason, True)
    assert [report.epoch for report in control.reports] == [2]
    assert ended.wait(5)


def test_a_process_that_is_ending_starts_no_epoch(
    monkeypatch: pytest.MonkeyPatch, worker: CohortWorker, specs: list[TrialSpec], step: Step, ended: threading.Event
) -> None:
    inject(monkeypatch, _0="device_error")
    for future in [step(specs[0]), step(specs[1])]:
        future.result(5)
    for future in [step(specs[0]), step(specs[1])]:
        future.result(5)
    again = step(specs[1], Company.ALONE_FOR_AN_EPOCH)
    assert ended.wait(5)
    assert not again.done()
    assert not active_file(specs[1]).exists(), "its end would seem to be the fault of this trial"
    worker.leave(specs[1].key)
    assert again.result(5) == StepResult()


@pytest.mark.parametrize("is_back", [False, True])
def test_a_process_that_a_trial_corrupts_while_it_leaves_ends_as_well(
    monkeypatch: pytest.MonkeyPatch,
    worker: CohortWorker,
    callers: ThreadPoolExecutor,
    specs: list[TrialSpec],
    step: Step,
    ended: threading.Event,
    is_back: bool,
) -> None:
    faults = {"0": {"epoch": 2, "kind": "device_error"}}
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, json.dumps({"epoch_s": 0.2, "faults": faults}))
    for future in [step(specs[0]), step(specs[1])]:
        future.result(5)
    control, trial = step(specs[0]), step(specs[1])
    time.sleep(0.1)  # the epoch has begun
    worker.leave(specs[1].key)
    again = callers.submit(worker.step, specs[1], Company.SHARED, 1) if is_back else None
    assert trial.result(5) == StepResult()
    reason = "worker died: bug: RuntimeError: CUDA error: simulated in epoch 2"
    result = control.result(5)
    assert (result.failure, result.in_company, [each.epoch for each in result.reports]) == (reason, True, [2])
    if again is not None:
        assert again.result(5) == StepResult(failure=reason, in_company=True)
    assert ended.wait(5)


def test_a_process_that_a_trial_corrupts_alone_while_it_leaves_ends(
    monkeypatch: pytest.MonkeyPatch, worker: CohortWorker, specs: list[TrialSpec], step: Step, ended: threading.Event
) -> None:
    faults = {"0": {"epoch": 2, "kind": "device_error"}}
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, json.dumps({"epoch_s": 0.2, "faults": faults}))
    control, trial = step(specs[0]), step(specs[1], Company.ALONE)
    trial.result(5)
    trial = step(specs[1])
    time.sleep(0.1)
    worker.leave(specs[1].key)
    assert trial.result(5) == StepResult()
    assert ended.wait(5)
    assert not control.done(), "it has no epoch, and its caller learns that the process has ended"
    worker.leave(specs[0].key)


def test_recorded_epochs_are_returned_before_any_is_trained(
    specs: list[TrialSpec], callers: ThreadPoolExecutor
) -> None:
    first = CohortWorker(size=4, num_first=0, simulate=True, end_process=lambda: None)
    for _ in range(2):
        callers.submit(first.step, specs[0], Company.SHARED).result(5)
    first.leave(specs[0].key)
    other = CohortWorker(size=4, num_first=0, simulate=True, end_process=lambda: None)
    assert epochs_of(callers.submit(other.step, specs[0], Company.SHARED).result(5)) == [1, 2]
    assert epochs_of(callers.submit(other.step, specs[0], Company.SHARED).result(5)) == [3]


def test_a_file_says_which_trials_a_worker_was_training_when_it_died(
    monkeypatch: pytest.MonkeyPatch, specs: list[TrialSpec], step: Step
) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, json.dumps({"epoch_s": 0.2}))
    futures = [step(specs[0]), step(specs[1], Company.ALONE_FOR_AN_EPOCH)]
    time.sleep(0.1)
    assert ended_alone(specs[1])
    assert not ended_alone(specs[1]), "a worker is held against a trial once"
    assert not ended_alone(specs[0]), "it waits"
    futures[1].result(5)
    futures[1] = step(specs[1])
    time.sleep(0.1)
    assert active_file(specs[0]).read_text() == active_file(specs[1]).read_text() == "2"
    assert not ended_alone(specs[1])
    for future in futures:
        future.result(5)
    assert not active_file(specs[0]).exists()


def test_a_file_that_cannot_be_removed_stops_no_epoch(
    monkeypatch: pytest.MonkeyPatch, specs: list[TrialSpec], step: Step
) -> None:
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.name == "active":
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    for epoch in (1, 2):
        futures = [step(specs[0]), step(specs[1])]
        assert [epochs_of(future.result(5)) for future in futures] == [[epoch], [epoch]]


def test_a_lock_of_one_thread_is_released_by_another(specs: list[TrialSpec], callers: ThreadPoolExecutor) -> None:
    attempt = CohortAttempt(simulate=True)
    attempt.add(specs[0])
    assert epochs_of(callers.submit(attempt.step).result(5)[specs[0].key]) == [1]
    kept = attempt._members[specs[0].key].lock
    attempt.remove(specs[0].key)
    with FileLock(kept.lock_file, timeout=0.1):
        assert not kept.is_locked


@pytest.mark.parametrize("num_trials", [1, 2])
def test_an_error_between_epochs_ends_the_process(
    monkeypatch: pytest.MonkeyPatch,
    specs: list[TrialSpec],
    step: Step,
    step_of_one: Step,
    ended: threading.Event,
    num_trials: int,
) -> None:
    start = step_of_one if num_trials == 1 else step

    def fail(self: CohortAttempt) -> dict[str, StepResult]:
        raise KeyError("x")

    for future in [start(spec) for spec in specs[:num_trials]]:
        future.result(5)
    monkeypatch.setattr(CohortAttempt, "step", fail)
    for future in [start(spec) for spec in specs[:num_trials]]:
        result = future.result(5)
        assert (result.failure, result.in_company) == ("worker died: bug: KeyError: 'x'", num_trials > 1)
    assert ended.wait(5)
    assert "KeyError" in (Path(specs[0].folder) / "error.txt").read_text()


def test_a_worker_says_what_it_does(
    monkeypatch: pytest.MonkeyPatch, worker: CohortWorker, specs: list[TrialSpec], step: Step
) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, json.dumps({"epoch_s": 1.0}))
    names = [spec.key for spec in specs]
    assert not worker.is_here(names[0])
    futures = [step(specs[0]), step(specs[1])]
    for future in futures:
        future.result(5)
    last = [step(specs[1])]
    wait_until(rf"waits since \d+ s; asked for an epoch of: {names[1]}; not of: {names[0]}", worker)
    assert worker.is_here(names[0])
    assert not worker.is_here(names[0], visit=1)
    last.append(step(specs[0]))
    wait_until(rf"trains trials {names[0]}, {names[1]} since \d+ s", worker)
    for future in last:
        future.result(5)


def wait_until(description: str, worker: CohortWorker) -> None:
    gives_up_at = time.monotonic() + 10.0
    while not re.fullmatch(description, said := worker.describe()):
        assert time.monotonic() < gives_up_at, said
        time.sleep(0.01)


@pytest.mark.parametrize("num_epochs", [0, 1])
def test_a_trial_that_waits_continues_when_one_that_was_alone_fails(
    monkeypatch: pytest.MonkeyPatch, specs: list[TrialSpec], step: Step, num_epochs: int
) -> None:
    """Nobody else may call the worker: its room is for fewer trials, or no trial is left."""
    inject(monkeypatch, _0="error")
    monkeypatch.setattr(cohort_worker, "_FIRST_WAIT_S", 0.3)
    epochs = 0
    for _ in range(num_epochs):
        for future in [step(specs[0]), step(specs[1])]:
            epochs = epochs_of(future.result(5))[0]
    waiting, alone = step(specs[0]), step(specs[1], Company.ALONE)
    while (result := alone.result(5)).failure is None:
        alone = step(specs[1], Company.ALONE)
    assert result.failure == "bug: RuntimeError: simulated error in epoch 2"
    assert epochs_of(waiting.result(5)) == [epochs + 1]
