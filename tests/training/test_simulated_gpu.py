"""Training on a simulated GPU: no operation mixes tensors of two devices, and the results are those of the CPU."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import pytest
import torch

from distune.config.distillation import DistillationSettings
from distune.config.experiment import Experiment
from distune.config.paths import merge
from distune.config.search import TeacherCacheSettings
from distune.data.build import build_splits
from distune.detectors.levels import probe_levels
from distune.training.builder import TrialBuilder
from distune.training.cohort import EpochResult
from distune.training.rng_state import RngState
from distune.training.student import Student
from distune.training.teacher_cache import TeacherCache
from support.experiments import small_values
from support.families import CLASSES, SETTINGS
from support.families import build as build_family
from support.simulated_gpu import simulated_gpu

CPU = torch.device("cpu")
EVERY_TERM: dict[str, Any] = {
    "distillation": {name: {"weight": 0.1, "unit": "raw"} for name in DistillationSettings().terms}
}
OTHER_PATHS: dict[str, Any] = {
    "data": {"augmentation": {"copies": 1}},
    "training": {"ema": {"decay": 0.9}, "accumulate_batches": 2},
    "distillation": {"prototypes": {"source": {"kind": "feature_pass", "max_images": 8}}},
}
"""Kept maps of the teacher, averaged weights, and prototypes of a feature pass."""
TIMES = ("time/", "speed/", "memory/")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def experiment_of(family: str, changes: dict[str, Any]) -> Experiment:
    settings = SETTINGS[family].model_dump()
    slow = {"optimizer": {"kind": "adamw", "learning_rate": 1e-6}}  # so that rounding does not grow
    values = small_values(merge({"data": {"num_classes": len(CLASSES)}, "training": slow}, changes))
    return Experiment.model_validate({**values, "student": settings, "teacher": settings})


class Bench:
    """A cohort of one experiment on a device."""

    def __init__(self, experiment: Experiment, device: torch.device) -> None:
        splits = build_splits(experiment.data, with_masks=experiment.learns_masks)
        self.builder, self.training = TrialBuilder(experiment, splits, device), experiment.training
        self.stream = self.builder.stream(self.training, seed=0, with_masks=experiment.student.learns_masks)
        self.teacher = self.builder.teacher_or_random(None)
        cache = TeacherCache(TeacherCacheSettings(memory_gb=1))  # only used where batches repeat
        self.cohort = self.builder.cohort(self.training, self.stream, self.teacher, epochs_done=0, cache=cache)

    def student(self, *, seed: int = 0) -> Student:
        """Build a student, as late as a worker does: the teacher is on the device already."""
        student = self.builder.student(
            f"student {seed}",
            self.builder.experiment.student,
            self.training,
            seed=seed,
            steps_per_epoch=len(self.stream),
            teacher=self.teacher,
        )
        self.cohort.join(student)
        return student

    def epoch(self) -> dict[str, float]:
        """Train an epoch, and return the metrics of all students."""
        metrics: dict[str, float] = {}
        for key, result in self.cohort.run_epoch().items():
            metrics |= {f"{key}: {name}": value for name, value in metrics_of(result).items()}
        return metrics


def metrics_of(result: EpochResult) -> dict[str, float]:
    if result.error is not None:
        raise result.error
    return {name: value for name, value in result.metrics.items() if not name.startswith(TIMES)}


def assert_close(actual: dict[str, float], expected: dict[str, float]) -> None:
    assert actual.keys() == expected.keys()
    # Of the first student: the second one of an SSD, which has no normalization, amplifies any rounding.
    losses = [name for name in expected if name.startswith(("student 0: loss/", "student 0: share_asked/"))]
    assert losses
    for name in losses:
        assert actual[name] == pytest.approx(expected[name], rel=0.02, abs=1e-4), name


def test_a_checkpoint_of_a_cpu_continues_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = experiment_of("retinanet", {})
    here = Bench(experiment, CPU)
    student = here.student()
    here.epoch()
    state = copy.deepcopy(student.state_dict())
    expected = here.epoch()
    with simulated_gpu(monkeypatch) as device:
        there = Bench(experiment, device)
        there.student().load_state_dict(state)
        there.cohort.epochs_done = 1
        assert_close(there.epoch(), expected)


def test_random_numbers_of_a_gpu_without_a_saved_state(monkeypatch: pytest.MonkeyPatch) -> None:
    with simulated_gpu(monkeypatch) as device:
        stream = RngState(3, device)
        seeded = stream.state_dict()
        stream.load_state_dict({"cpu": seeded["cpu"]})
        assert stream.state_dict().keys() == {"cpu", "cuda"}


def test_it_refuses_what_a_gpu_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    with simulated_gpu(monkeypatch) as device:
        there, here = torch.ones(3, device=device), torch.ones(3)
        assert there.device == device
        assert (there + 1).device == device
        assert there.cpu().device == CPU
        with pytest.raises(RuntimeError, match="same device"):
            there + here
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        with pytest.raises(RuntimeError, match="same device"):
            torch.nn.Linear(3, 1).to(device)(here)


def test_levels_of_a_model_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = build_family("retinanet")
    expected = probe_levels(detector, torch.zeros(3, 64, 64))
    with simulated_gpu(monkeypatch) as device:
        detector.model.to(device)
        assert probe_levels(detector, torch.zeros(3, 64, 64)) == expected


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("retinanet", {}),
        pytest.param("retinanet", EVERY_TERM, marks=pytest.mark.slow),
        pytest.param("retinanet", OTHER_PATHS, marks=pytest.mark.slow),
        *(pytest.param(family, {}, marks=pytest.mark.slow) for family in sorted(SETTINGS) if family != "retinanet"),
    ],
)
def test_a_cohort_of_two(family: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = experiment_of(family, changes)
    metrics = []
    for simulate in (False, True):
        with simulated_gpu(monkeypatch) if simulate else contextlib.nullcontext(CPU) as device:
            bench = Bench(experiment, device)
            bench.student(seed=0)
            bench.student(seed=1)
            for _ in range(2 if changes is OTHER_PATHS else 1):  # the second one finds the maps of the first
                found = bench.epoch()
            metrics.append(found)
    assert_close(metrics[1], metrics[0])
