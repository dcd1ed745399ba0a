"""Ray Tune's adapters, without Ray: exclusive devices, and reasons of worker failures."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.experiment import Trial

from distune.records import TrialSpec
from distune.study.engine import StudyEngine
from distune.study.resources import Resources
from distune.study.runners.epoch_timeout import describe_timeout
from distune.study.runners.exclusive_devices import ExclusiveDevices
from distune.study.runners.ray_adapters import EngineBridge, EngineScheduler, EngineSearcher
from distune.study.runners.ray_failures import describe_worker_failure
from distune.study.runners.ray_trainable import EXCLUSIVE, RESOURCES, SPEC
from study.harness import EngineHarness, MakeHarness

TIMED_OUT = "Timeout (0:00:06)!\nThread 0x1 (most recent call first):\n"


class Tune:
    """The part of Tune that hands out trials: each is PENDING at first, and one that is stopped then is removed."""

    def __init__(self, harness: EngineHarness, engine: StudyEngine, *machines: Resources) -> None:
        self.machines = list(machines)
        self.bridge = EngineBridge(
            engine,
            trial=Resources(1.0),
            placement=ExclusiveDevices(Resources(1.0), lambda: self.machines),
            check_servers=lambda: None,
            should_stop=lambda: False,
            callback=harness.witness,
        )
        self._searcher = EngineSearcher(self.bridge, simulate=True)
        self._scheduler = EngineScheduler(self.bridge)

    def give_out(self) -> Any:
        """The next trial, None when there is none now."""
        config = self._searcher.suggest("x")
        if not isinstance(config, dict):
            return None
        trial = SimpleNamespace(config=config, status=Trial.PENDING, error_file=None)
        self._scheduler.on_trial_add(self, trial)  # type: ignore[arg-type]
        return trial

    def stop_trial(self, trial: Any) -> None:
        trial.status = Trial.TERMINATED
        self._scheduler.on_trial_remove(self, trial)

    def step(self) -> None:
        assert self._scheduler.choose_trial_to_run(self) is None

    def die(self, trial: Any, text: str) -> None:
        trial.status = Trial.ERROR
        Path(trial.error_file).write_text(text)
        self._scheduler.on_trial_error(self, trial)


def spec_of(trial: Any) -> TrialSpec:
    spec: TrialSpec = trial.config[SPEC].spec
    return spec


@pytest.fixture
def harness(make_harness: MakeHarness) -> EngineHarness:
    return make_harness(search={"num_trials": 5, "controls": 0}, resources={"epoch_timeout_s": 6.0})


def out_of_memory(harness: EngineHarness, *machines: Resources) -> tuple[Tune, Any]:
    """Return a trial that ran out of memory and is the next one to be given out."""
    tune = Tune(harness, harness.engine(), *machines)
    first = tune.give_out()
    first.status = Trial.TERMINATED
    tune.bridge.fail(spec_of(first).key, "out of memory: no room")
    return tune, first


def test_a_trial_that_needs_an_exclusive_device_gets_the_largest_machine(
    harness: EngineHarness,
) -> None:
    tune, first = out_of_memory(harness, Resources(2.0))
    assert first.config[RESOURCES] == Resources(1.0)
    tune.machines.append(Resources(8.0))
    again = tune.give_out()
    assert (again.config[EXCLUSIVE], again.config[RESOURCES]) == (True, Resources(8.0))
    assert tune.give_out() is None, "it would take the resources that become free"
    again.status = Trial.RUNNING
    assert tune.give_out() is not None


@pytest.mark.parametrize("left", [Resources(4.0), Resources(1.0), Resources(16.0)])
def test_its_reservation_follows_the_machines_of_the_cluster(harness: EngineHarness, left: Resources) -> None:
    tune, _ = out_of_memory(harness, Resources(8.0))
    again = tune.give_out()
    tune.step()
    assert again.status == Trial.PENDING
    tune.machines = []
    tune.step()
    assert again.status == Trial.PENDING, "there is nothing better to ask for"
    tune.machines = [left]
    tune.step()
    assert again.status == Trial.TERMINATED
    third = tune.give_out()
    assert (third.config[SPEC].key, third.config[RESOURCES]) == (again.config[SPEC].key, left)
    third.status = Trial.RUNNING
    assert tune.give_out().config[SPEC].key != third.config[SPEC].key, "the study continues"
    assert harness.known()[0].retries[1:] == (), "it has not failed meanwhile"


def test_no_other_trial_shares_its_device_when_no_machine_was_known(harness: EngineHarness) -> None:
    tune, _ = out_of_memory(harness)
    again = tune.give_out()
    assert again.config[RESOURCES] == Resources(1.0), "a cluster that grows must be asked for something"
    tune.machines = [Resources(8.0)]
    again.status = Trial.RUNNING
    assert tune.give_out() is None
    again.status = Trial.TERMINATED
    assert tune.give_out() is not None


def test_a_trial_that_has_ended_is_not_requeued(harness: EngineHarness) -> None:
    engine = harness.engine()
    tune = Tune(harness, engine, Resources(8.0))
    first = tune.give_out()
    engine.interrupt()
    tune.stop_trial(first)
    assert tune.give_out() is None
    assert tune.bridge.error is None


def test_a_timeout_of_an_earlier_attempt_is_not_the_reason_of_this_one(harness: EngineHarness, tmp_path: Path) -> None:
    tune = Tune(harness, harness.engine(), Resources(8.0))
    first, second = tune.give_out(), tune.give_out()
    for trial in (first, second):
        trial.error_file = tmp_path / "tune.txt"
    died = "The actor is dead because its node has died. Some common causes include: x"
    folder = Path(spec_of(first).folder)
    (folder / "error.txt").write_text(f"{TIMED_OUT}...\n")
    (Path(spec_of(second).folder) / "error.txt").write_text(TIMED_OUT)
    tune.die(first, died)
    assert harness.known()[0].reason == describe_timeout(6.0)

    tune.bridge.fail("1", "worker died: once")
    again = tune.give_out()
    assert again.config[SPEC].key == "1"
    again.error_file = tmp_path / "tune.txt"
    tune.die(again, died)
    assert harness.known()[1].reason == "worker died: its node has died."


def test_the_reason_of_a_worker_failure_is_short_and_has_no_secret() -> None:
    reason = describe_worker_failure(f"OSError: cannot reach https://ann:hunter2@store/x {'and so on ' * 100}")
    assert reason.startswith("worker died: OSError: cannot reach https://***@store/x and so on")
    assert len(reason) == 500
    assert reason.endswith(" ...")
    raised = describe_worker_failure("distune.errors.TrialError: bug: cannot reach https://ann:hunter2@store/x")
    assert raised == "bug: cannot reach https://***@store/x"
