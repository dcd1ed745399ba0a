"""The benchmark of one GPU, on a simulated GPU and tiny models."""

from __future__ import annotations

import argparse

import pytest
import torch

from support.benchmarks import benchmarks_can_be_imported, same_number_of_threads
from support.simulated_gpu import simulated_gpu

__all__ = ["benchmarks_can_be_imported", "same_number_of_threads"]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("benchmarks_can_be_imported", "same_number_of_threads")]


def test_steps_cohorts_and_resuming(monkeypatch: pytest.MonkeyPatch) -> None:
    import on_gpu

    torch.set_num_threads(1)
    monkeypatch.setattr(on_gpu, "NUM_STEPS", 2)
    monkeypatch.setattr(on_gpu, "NUM_SEARCH", 2)
    monkeypatch.setattr(on_gpu, "MEASURED_EPOCHS", 1)
    options = argparse.Namespace(
        device="cuda", pairs=["tiny"], batches=[2], size=[64, 64], classes=3, precision="float32"
    )
    with simulated_gpu(monkeypatch):
        (line,) = on_gpu.steps(options, lambda: False)
        images_per_s, _ = on_gpu.cohort_of(on_gpu.Setup.of("tiny", 2, "float32", options), 2)
        resumed = on_gpu.resume(options, lambda: False)
    assert line["seconds_per_step"]["student"] > 0
    assert images_per_s > 0
    assert resumed == {"largest_difference": 0.0, "of_another_run": 0.0}


def test_sides_are_those_that_generated_images_can_have() -> None:
    import on_gpu

    options = argparse.Namespace(device="cpu", pairs=["tiny"], batches=[2], size=[800, 1333], classes=3)
    assert on_gpu.Setup.of("tiny", 2, "float32", options).experiment.data.min_size_px == 1024
