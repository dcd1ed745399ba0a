"""A trial in two processes on the CPU: equal to one process, resumed after a kill, and ended by any failure."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from distune.detectors.zoo import build_detector
from distune.errors import UsageError, WorkerLostError
from distune.records import TrialSpec
from distune.study.failures.reasons import WORKER_DIED, describe_failure, is_of_kind
from distune.training import checkpoint
from distune.training.open_run import open_run
from distune.training.processes.process_run import ProcessRun
from distune.training.trial_folder import TrialFolder
from support.experiments import small_experiment

EPOCHS = 3
CHANGES: dict[str, Any] = {
    "student": {"family": "retinanet", "backbone": "resnet10", "fpn_channels": 16, "norm": "group"},
    "training": {
        "epochs": EPOCHS,
        "optimizer": {"kind": "sgd", "learning_rate": 0.005},
        "schedule": {"kind": "constant"},
        "gradient_clip_norm": 1.0,
    },
    "data": {"num_train": 8, "num_search": 6},
    "distillation": {"decay": "constant", "center": "maps", "prototypes": {"source": {"kind": "queue"}}},
    "tracking": {"pictures": 0},
}


pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def spec(tmp_path: Path) -> TrialSpec:
    experiment = small_experiment(CHANGES)
    detector = build_detector(experiment.teacher, classes=("circle", "square"), min_size_px=64, max_size_px=64, seed=3)
    state = {
        "model": detector.model.state_dict(),
        "classes": ["circle", "square"],
        "detector": experiment.teacher.model_dump(mode="json"),
    }
    checkpoint.save(state, tmp_path / "teacher.pt")
    return TrialSpec(
        study="one",
        number=0,
        control=False,
        seed=5,
        num_epochs=EPOCHS,
        params={},
        experiment=experiment.to_dict(),
        folder=str(tmp_path / "two"),
        teacher_weights=str(tmp_path / "teacher.pt"),
    )


def test_a_killed_and_resumed_trial_in_two_processes_equals_one_in_one(spec: TrialSpec, tmp_path: Path) -> None:
    first = _open(spec)
    assert first.epochs_done == 0
    assert first.run_epoch().epoch == 1
    with _killing(first, after_s=0.3), pytest.raises(WorkerLostError, match="SIGKILL") as lost:
        _train_until_it_fails(first)
    assert is_of_kind(describe_failure(lost.value), WORKER_DIED)
    assert not first.process_ids
    done = len(TrialFolder.of(spec).reports())
    second = _open(spec)
    assert second.epochs_done == done >= 1
    while second.epochs_done < EPOCHS:
        second.run_epoch()
    second.close()
    alone = dataclasses.replace(spec, folder=str(tmp_path / "one"))
    run = open_run(alone, num_processes=1)
    for _ in range(EPOCHS):
        run.run_epoch()
    run.close()
    for two, one in zip(TrialFolder.of(spec).reports(), TrialFolder.of(alone).reports(), strict=True):
        names = [name for name in one.metrics if not name.startswith(("time/", "speed/", "memory/", "features/"))]
        assert "search/AP" in names
        assert {name: two.metrics[name] for name in names} == pytest.approx(
            {name: one.metrics[name] for name in names}, rel=5e-3, abs=2e-4
        )
    states = [checkpoint.load(TrialFolder.of(each).last_checkpoint) for each in (spec, alone)]
    assert states[0] is not None
    assert states[1] is not None
    for name, value in states[1]["model"].items():
        torch.testing.assert_close(states[0]["model"][name], value, rtol=1e-3, atol=1e-5)


def test_an_error_in_one_process_ends_the_trial_with_its_reason(spec: TrialSpec) -> None:
    student = {**spec.experiment["student"], "norm": "batch"}
    spec = dataclasses.replace(spec, experiment={**spec.experiment, "student": student})
    started = time.monotonic()
    with pytest.raises(UsageError, match="batch normalization, which torch synchronizes") as refused:
        _open(spec)
    assert any("In process" in note for note in refused.value.__notes__)
    assert time.monotonic() - started < 240


def _open(spec: TrialSpec) -> ProcessRun:
    run = open_run(spec, num_processes=2)
    assert isinstance(run, ProcessRun)
    return run


def _train_until_it_fails(run: ProcessRun) -> None:
    while True:
        run.run_epoch()


@contextlib.contextmanager
def _killing(run: ProcessRun, *, after_s: float) -> Iterator[None]:
    """Kill the second process in the block."""
    timer = threading.Timer(after_s, os.kill, (run.process_ids[1], signal.SIGKILL))
    timer.start()
    try:
        yield
    finally:
        timer.join()
