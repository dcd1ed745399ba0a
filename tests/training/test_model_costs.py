"""Costs of a student, whose measurement does not change its training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from distune.config.search import Cost
from distune.data.build import build_splits
from distune.records import EpochReport
from distune.training.builder import TrialBuilder
from distune.training.evaluation.model_costs import measure_costs, measure_side_by_side
from distune.training.solo_run import SoloRun
from distune.training.trial_folder import TrialFolder
from support.experiments import small_experiment

CPU = torch.device("cpu")
ALL: tuple[Cost, ...] = ("parameters", "flops", "latency_ms")


class OneConvolution(nn.Module):
    """Stands for a detector: takes a list of images."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, kernel_size=3, padding=1, bias=True)
        self.norm = nn.BatchNorm2d(4)
        self.norm.eval()
        self.calls = 0

    def forward(self, images: list[Tensor]) -> Tensor:
        assert not self.training
        self.calls += 1
        maps: Tensor = self.norm(self.convolution(torch.stack(images)))
        return maps


def test_parameters_and_operations_of_a_convolution_are_counted_exactly() -> None:
    model = OneConvolution()
    measured = measure_costs(model, ALL, image_size_px=16, device=CPU)
    assert list(measured) == ["student/parameters", "student/flops", "student/latency_ms"]
    assert measured["student/parameters"] == 4 * 3 * 9 + 4 + 2 * 4
    assert measured["student/flops"] == 2 * 16 * 16 * 4 * 3 * 9
    assert measured["student/latency_ms"] > 0
    assert model.training
    assert not model.norm.training, "every module has its own mode back"


def test_only_requested_costs_are_measured() -> None:
    model = OneConvolution()
    assert measure_costs(model, (), image_size_px=16, device=CPU) == {}
    assert list(measure_costs(model, ("parameters",), image_size_px=16, device=CPU)) == ["student/parameters"]
    assert model.calls == 0


def test_models_side_by_side_run_in_turns() -> None:
    order: list[str] = []
    models = {name: OneConvolution() for name in ("teacher", "student")}
    for name, model in models.items():
        model.register_forward_pre_hook(lambda *_, name=name: order.append(name))
    found = measure_side_by_side(models, image_size_px=16, device=CPU)
    assert list(found) == ["teacher", "student"]
    assert found["student"]["parameters"] == 4 * 3 * 9 + 4 + 2 * 4
    assert found["student"]["flops"] == 2 * 16 * 16 * 4 * 3 * 9
    assert found["teacher"]["latency_ms"] > 0
    timed = order[6:-2]  # after the warm-ups, before the operations are counted
    assert timed == ["teacher", "student"] * 20
    assert all(model.training and not model.norm.training for model in models.values())


def run(folder: TrialFolder, costs: tuple[Cost, ...]) -> SoloRun:
    experiment = small_experiment()
    builder = TrialBuilder(experiment=experiment, splits=build_splits(experiment.data), device=CPU)
    return SoloRun(
        builder,
        experiment.student,
        experiment.training,
        seed=0,
        teacher=None,
        folder=folder,
        metric="search/AP",
        num_pictures=0,
        costs=costs,
    )


def without_times(report: EpochReport) -> dict[str, float]:
    return {
        name: value
        for name, value in report.metrics.items()
        if not name.startswith(("time/", "speed/", "student/", "memory/"))
    }


@pytest.mark.slow
def test_measuring_does_not_change_training_and_costs_are_kept(tmp_path: Path) -> None:
    plain, measured = run(TrialFolder(tmp_path / "plain"), ()), run(TrialFolder(tmp_path / "measured"), ALL)
    reports = [each.run_epoch() for each in (plain, measured)]
    assert without_times(reports[0]) == without_times(reports[1])
    assert not any(name.startswith("student/") for name in reports[0].metrics)
    latency = reports[1].metrics["student/latency_ms"]
    measured.close()
    again = run(TrialFolder(tmp_path / "measured"), ALL).run_epoch()
    assert again.epoch == 2
    assert again.metrics["student/latency_ms"] == latency, "a resumed trial is not measured again"
