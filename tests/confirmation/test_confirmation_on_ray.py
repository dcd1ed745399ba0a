"""A confirmation on Ray: a task per seed, and workers that die or hang."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import ray

from confirmation.confirming import arm_spec
from distune.config.home import Home
from distune.confirmation.arm_folder import ArmFolder
from distune.confirmation.confirmation_plan import plan_confirmation
from distune.confirmation.confirmation_session import run_confirmation
from distune.confirmation.seed_job import SeedJob
from distune.confirmation.seed_runners import settle
from distune.errors import TrialError
from distune.records import Outcome
from distune.study.create import create_study
from distune.study.runners.simulation import ENVIRONMENT_VARIABLE
from distune.study.session import run_session
from distune.study.status import read_study
from study.harness import MakeLoaded, Witness


@pytest.mark.ray
def test_seeds_are_tasks_and_a_worker_that_dies_or_hangs_fails_only_its_seed(
    tmp_path: Path, make_loaded: MakeLoaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path)
    loaded = make_loaded(search={"num_trials": 1}, training={"epochs": 2}, resources={"epoch_timeout_s": 2})
    folder = create_study(loaded, home, name="one", simulate=True, runner="local", replace=False)
    run_session(folder, tracker=Witness(), callback=Witness(), teacher_weights=None)
    identity = json.loads(folder.study_file.read_bytes())
    folder.study_file.write_text(json.dumps({**identity, "runner": "ray"}))
    faults = {
        "confirm-0-seed-1006": {"epoch": 2, "kind": "kill"},
        "confirm-0-seed-1008": {"epoch": 2, "kind": "hang"},
    }
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, json.dumps({"faults": faults}))
    status = read_study(home, "one")
    plan = plan_confirmation(folder, status, loaded.experiment, top=1, num_seeds=4, teacher_weights=None)
    witness = Witness()
    result = run_confirmation(
        folder, plan, metric="AP", has_test=True, state="finished", tracker=witness, callback=witness
    )
    assert result is not None
    assert result.test is not None
    assert list(result.test.by_seed) == [1005, 1007]
    reasons = {record.key: str(record.reason) for record in witness.records if record.outcome is Outcome.FAILED}
    assert {key: reason.split(":")[0] for key, reason in reasons.items()} == {
        "confirm-control-seed-1006": "worker died",
        "confirm-0-seed-1006": "worker died",
        "confirm-control-seed-1008": "timeout",
        "confirm-0-seed-1008": "timeout",
    }
    report = folder.confirmation.path / "seed-1008" / "error.txt"
    assert "most recent call first" in report.read_text()
    assert len(set(witness.points)) == len(witness.points) >= 4 * 2 + 1


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ray.exceptions.WorkerCrashedError(), "worker died: The worker died unexpectedly"),
        (ray.exceptions.LocalRayletDiedError(), "worker died: The task's local raylet died"),
        (ray.exceptions.NodeDiedError("its node is gone"), "worker died: its node is gone"),  # type: ignore[no-untyped-call]
        (ray.exceptions.OutOfMemoryError("the node running low on memory"), "out of memory: "),  # type: ignore[no-untyped-call]
    ],
)
def test_any_failure_of_a_ray_worker_fails_its_seed(
    make_loaded: MakeLoaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def get(task: object) -> None:
        raise error

    monkeypatch.setattr(ray, "get", get)
    spec = arm_spec(make_loaded, tmp_path)
    ArmFolder.of(spec).prepare(spec)
    with pytest.raises(TrialError, match="run distune confirm one again"):
        settle(SeedJob(specs=(spec,), simulate=True, split="test"), object())
    settle(SeedJob(specs=(spec,), simulate=True, split="search"), object())
    outcome, said = ArmFolder.of(spec).outcome()
    assert outcome is Outcome.FAILED
    assert str(said).startswith(reason)


def test_the_exception_of_a_ray_task_is_raised(
    make_loaded: MakeLoaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def get(task: object) -> None:
        raise ray.exceptions.RayTaskError("_run", "traceback", OSError(28, "no space"))  # type: ignore[no-untyped-call]

    monkeypatch.setattr(ray, "get", get)
    with pytest.raises(OSError, match="no space"):
        settle(SeedJob(specs=(arm_spec(make_loaded, tmp_path),), simulate=True, split="search"), object())
