"""The time of an epoch from a few batches."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch

from distune.config.experiment import Experiment
from distune.config.paths import merge
from distune.config.training import TrainingSettings
from distune.data.build import build_splits
from distune.data.splits import Splits
from distune.detectors.taps import StudentTaps
from distune.errors import TrialError
from distune.training.builder import TrialBuilder
from distune.training.cohort import Cohort, EpochResult
from distune.training.epoch_timing import (
    EpochLength,
    MeasuredEpoch,
    batch_of_one_gpu,
    cpu_threads,
    time_student_epoch,
    time_teacher_epoch,
)
from support.experiments import small_experiment, small_values

CPU = torch.device("cpu")
MANY = {"data": {"num_train": 40, "num_search": 16}, "distillation": {"start_epoch": 2}}


@pytest.fixture
def splits() -> Splits:
    return build_splits(small_experiment(MANY).data)


def test_a_few_batches_are_extrapolated_to_all_images(splits: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, int]] = []
    losses: list[dict[str, float]] = []
    train = Cohort.run_epoch

    def run_epoch(self: Cohort, **options: Any) -> dict[str, EpochResult]:
        sizes.append((len(self._stream.dataset), len(self._search)))
        (result,) = train(self, **options).values()
        losses.append(result.metrics)
        times = {"time/epoch_s": 3.0, "time/evaluate_s": 1.0, "time/load_s": 0.2, "time/teacher_s": 0.3}
        return {"timing": dataclasses.replace(result, metrics={**result.metrics, **times})}

    monkeypatch.setattr(Cohort, "run_epoch", run_epoch)
    experiment = small_experiment(MANY)
    length = time_student_epoch(experiment, splits, device=CPU, teacher_weights=None)
    assert length == EpochLength(total=2.0 * 40 / 16 + 1.0 * 16 / 8, shared=0.5 * 40 / 16)
    assert sizes == [(16, 8), (16, 8)]
    assert losses[0]["loss/total"] != losses[0]["loss/task"], "distillation is timed although it would start later"
    assert "loss/global_knowledge" in losses[1], "the timed epoch has prototypes"
    assert time_teacher_epoch(experiment, splits, device=CPU) == 7.0
    assert losses[-1]["loss/total"] == losses[-1]["loss/task"]


def test_a_gpu_trains_its_part_of_the_batches(splits: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def measure(builder: TrialBuilder, settings: Any, training: TrainingSettings, *_: Any, **__: Any) -> MeasuredEpoch:
        asked.append(training.batch_size)
        return MeasuredEpoch(2.0, 1.0, 1.0, num_train_images=8, num_search_images=8, num_steps=1, peak_mb=1.0)

    monkeypatch.setattr("distune.training.epoch_timing.measure_epoch", measure)
    of_gpus = {}
    for number in (1, 2):
        experiment = small_experiment(merge(MANY, {"resources": {"gpus_per_trial": number}}))
        of_gpus[number] = time_student_epoch(experiment, splits, device=CPU, teacher_weights=None)
        assert time_teacher_epoch(experiment, splits, device=CPU) == of_gpus[1].total  # always on one GPU
    assert asked == [4, 4, 2, 4]
    assert of_gpus[2] == EpochLength(total=of_gpus[1].total / 2, shared=of_gpus[1].shared / 2)


def test_batch_normalization_of_one_cell_needs_two_images() -> None:
    student = {"family": "ssdlite", "backbone": "mobilenet_v3_small", "input_size_px": 64}
    each = {"training": {"batch_size": 4}, "resources": {"gpus_per_trial": 4}}
    assert batch_of_one_gpu(small_experiment(each)) == 1
    values = {**small_values(each), "teacher": student, "student": student}
    assert batch_of_one_gpu(Experiment.model_validate(values)) == 2


def test_an_error_of_training_is_raised(splits: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_epoch(self: Cohort) -> dict[str, EpochResult]:
        return {"timing": EpochResult({}, [], MemoryError("no memory"))}

    monkeypatch.setattr(
        TrialBuilder, "cohort", lambda *_, **__: type("C", (), {"join": print, "run_epoch": run_epoch})()
    )
    with pytest.raises(MemoryError, match="no memory"):
        time_teacher_epoch(small_experiment(MANY), splits, device=CPU)


def test_a_loss_that_is_not_finite_is_an_error(splits: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StudentTaps, "task_loss", property(lambda taps: sum(taps.losses.values()) * math.nan))
    with pytest.raises(TrialError, match="a loss is not finite"):
        time_teacher_epoch(small_experiment(MANY), splits, device=CPU)


def test_distillation_is_measured_also_where_it_ends_early(splits: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics: list[dict[str, float]] = []
    train = Cohort.run_epoch

    def run_epoch(self: Cohort, **options: Any) -> dict[str, EpochResult]:
        results = train(self, **options)
        metrics.append(results["timing"].metrics)
        return results

    monkeypatch.setattr(Cohort, "run_epoch", run_epoch)
    experiment = small_experiment({**MANY, "distillation": {"start_epoch": 0, "stop_epoch": 1}})
    time_student_epoch(experiment, splits, device=CPU, teacher_weights=None)
    assert all("loss/local_knowledge" in each for each in metrics)


def test_threads_are_those_of_a_trial_and_are_restored() -> None:
    before = torch.get_num_threads()
    with cpu_threads(2.5):
        assert torch.get_num_threads() == 2
    with cpu_threads(0.25):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
