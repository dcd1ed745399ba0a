"""The time of an epoch from a few batches."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from distune.data.build import build_splits
from distune.data.splits import Splits
from distune.training.builder import TrialBuilder
from distune.training.cohort import Cohort, EpochResult
from distune.training.epoch_timing import EpochLength, cpu_threads, time_student_epoch, time_teacher_epoch
from support.experiments import small_experiment

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


def test_an_error_of_training_is_raised(splits: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_epoch(self: Cohort) -> dict[str, EpochResult]:
        return {"timing": EpochResult({}, [], MemoryError("no memory"))}

    monkeypatch.setattr(
        TrialBuilder, "cohort", lambda *_, **__: type("C", (), {"join": print, "run_epoch": run_epoch})()
    )
    with pytest.raises(MemoryError, match="no memory"):
        time_teacher_epoch(small_experiment(MANY), splits, device=CPU)


def test_threads_are_those_of_a_trial_and_are_restored() -> None:
    before = torch.get_num_threads()
    with cpu_threads(2.5):
        assert torch.get_num_threads() == 2
    with cpu_threads(0.25):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
