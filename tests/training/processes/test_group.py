"""The group of the processes of a trial, and their batch normalization, without a GPU and a second process."""

from __future__ import annotations

import sys

import pytest
import torch
import torch.distributed as dist
from torch import nn

from distune.errors import UsageError
from distune.records import TrialSpec
from distune.training.processes import process_main, sync_norms
from distune.training.processes.messages import Job
from distune.training.processes.sync_norms import synchronize_norms


@pytest.fixture
def job() -> Job:
    """The job of the second process."""
    values = {"study": "s", "number": 0, "control": False, "seed": 0, "num_epochs": 1, "params": {}, "experiment": {}}
    spec = TrialSpec(**values, folder="", teacher_weights=None)  # type: ignore[arg-type]
    return Job(spec=spec, stream_epochs=(), number=1, num_processes=2, store="store")


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes when the group is left."""
    calls: list[str] = []
    monkeypatch.setattr(dist, "init_process_group", lambda *_, **__: None)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: calls.append("left"))
    return calls


def test_a_process_leaves_the_group_at_its_end(left: list[str], job: Job) -> None:
    with process_main._process_group(job):
        assert not left
    assert left == ["left"]


def test_a_process_with_an_error_stays_in_the_group(left: list[str], job: Job) -> None:
    """Leaving waits for work of the others, who wait for this process."""
    with pytest.raises(MemoryError), process_main._process_group(job):
        raise MemoryError
    assert not left


def test_normalization_is_synchronized_without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_norms, "num_processes", lambda: 2)
    monkeypatch.setitem(sys.modules, "timm", None)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4)))
    names = set(model.state_dict())
    synchronize_norms(model, torch.device("cuda"))
    assert isinstance(model[1][0], nn.SyncBatchNorm)  # type: ignore[index]
    assert set(model.state_dict()) == names


def test_on_cpus_batch_normalization_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_norms, "num_processes", lambda: 2)
    with pytest.raises(UsageError, match="group or frozen"):
        synchronize_norms(nn.Sequential(nn.BatchNorm2d(4)), torch.device("cpu"))
