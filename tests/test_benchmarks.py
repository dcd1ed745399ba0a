"""A benchmark that compares two versions of something must compare the same thing, whatever the presets become."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from distune.config.data import ShapesData
from distune.config.experiment import Experiment
from distune.data.shapes.shapes_dataset import make_shapes
from distune.evidence.gain import Gain, half_width
from support.benchmarks import BENCHMARKS, benchmarks_can_be_imported, cell, same_number_of_threads, stored_line
from support.experiments import small_values

__all__ = ["benchmarks_can_be_imported", "same_number_of_threads"]

SMALL = "--size 96 --channels 16 --classes 3 --teacher-backbone resnet18 --batch 2 --boxes 3 --rounds 3"


@pytest.mark.usefixtures("same_number_of_threads")
def test_the_losses_in_loops_over_boxes_equal_those_of_distune(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setattr(sys, "argv", ["distill_step.py", "--parts", "loops", *SMALL.split()])
    importlib.import_module("distill_step").main()
    loops = json.loads(capsys.readouterr().out)["loops"]
    assert min(loops["values"].values()) > 0
    assert loops["same_values"], loops


@pytest.mark.slow
@pytest.mark.usefixtures("same_number_of_threads")
def test_a_distillation_step_is_compared_with_one_without_terms(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setattr(
        sys, "argv", ["distill_step.py", "--parts", "step", *SMALL.replace("rounds 3", "rounds 20").split()]
    )
    importlib.import_module("distill_step").main()
    step = json.loads(capsys.readouterr().out)["step"]
    assert step["over_teacher_neck"]["usual_step"]["median"] > 0
    assert step["over_teacher_neck_and_head"]["step_that_measures_gradients"]["median"] > 0


@pytest.mark.slow
def test_exports_are_compared_in_both_formats(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime", reason="the extra export is not installed")
    monkeypatch.syspath_prepend(BENCHMARKS)
    options = ["--families", "ssdlite", "--steps", "2", "--images", "4", "--table"]
    monkeypatch.setattr(sys, "argv", ["export_parity.py", *options])
    importlib.import_module("export_parity").main()
    first, second, *table = capsys.readouterr().out.splitlines()
    lines = [json.loads(line) for line in (first, second)]
    assert [line["format"] for line in lines] == ["onnx", "torchvision"]
    assert [line["problem"] for line in lines] == [None, None]
    assert len(table) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("same_number_of_threads")
def test_the_gradients_of_soft_labels_have_the_sums_of_their_equations(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setenv("DISTUNE_HOME", str(tmp_path))
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(small_values({"training": {"epochs": 1}})))
    monkeypatch.setattr(sys, "argv", ["soft_label_sites.py", "--experiment", str(tmp_path / "small.yaml")])
    importlib.import_module("soft_label_sites").main()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["arm"] for line in lines] == ["control", "positive", "all"] * 3
    start = lines[0]
    assert start["task"]["positive"] == pytest.approx(-0.27, abs=0.03)
    assert start["positive"]["other"] == 0
    assert start["all"]["other"] != 0
    assert lines[3]["task"] != lines[4]["task"] != lines[5]["task"], "the arms are trained apart"
    assert all(0 <= line["AP"] <= 100 for line in lines[6:])


@pytest.mark.usefixtures("benchmarks_can_be_imported")
@pytest.mark.parametrize(("knows_classes", "lost", "lost_of_the_two"), [(True, 0.65, 1.0), (False, 0.0, 0.0)])
def test_a_swap_of_classes_costs_only_a_detector_that_knows_them(
    knows_classes: bool, lost: float, lost_of_the_two: float
) -> None:
    class_confusion = importlib.import_module("class_confusion").class_confusion
    dataset = make_shapes(ShapesData(num_train=40, num_classes=3), "train")
    predictions = []
    for index in range(len(dataset)):
        image = dataset.annotations(index)
        boxes_N4, labels_N = torch.from_numpy(image.boxes_N4), torch.from_numpy(image.labels_N)
        if not knows_classes:  # each box as each class, all with one score
            boxes_N4, labels_N = boxes_N4.repeat(3, 1), torch.arange(1, 4).repeat_interleave(len(labels_N))
        scores_N = torch.full((len(labels_N),), 0.9)
        predictions.append(
            {"boxes": boxes_N4, "labels": labels_N, "scores": scores_N, "image_index": torch.tensor(index)}
        )
    found = class_confusion(predictions, dataset)
    assert set(found["AP_swapped"]) == {"circle/square", "circle/triangle", "square/triangle"}
    assert found["lost"] == pytest.approx(lost, abs=0.06)
    assert found["lost_of_the_two"] == pytest.approx(lost_of_the_two, abs=0.06)


@pytest.mark.usefixtures("benchmarks_can_be_imported")
def test_the_interval_of_satterthwaite_is_narrower_where_seeds_and_images_contribute_alike() -> None:
    interval = importlib.import_module("interval")
    alike, seeds_alone = (
        Gain(
            metric="AP",
            mean=0.0,
            low=0.0,
            high=0.0,
            student=0.0,
            control=0.0,
            by_seed=dict.fromkeys(range(3), 0.0),
            num_images=100,
            error_seeds=1.0,
            error_images=of_images,
        )
        for of_images in (1.0, 0.0)
    )
    # 1 + 1 with 2 and 99 degrees of freedom: (1 + 1)^2 / (1/2 + 1/99) = 7.84; t table between 2.365 and 2.306.
    assert interval.satterthwaite(alike)[1] == pytest.approx(2.31 * 2**0.5, abs=0.01)
    assert interval.satterthwaite(seeds_alone)[1] == pytest.approx(4.303, abs=0.001)
    howe = half_width(1.0, 1.0, num_seeds=3, num_images=100, error=0.05)
    assert howe == pytest.approx((4.303**2 + 1.984**2) ** 0.5, abs=0.001)


@pytest.mark.usefixtures("benchmarks_can_be_imported", "same_number_of_threads")
def test_recipes_are_compared_with_their_control_and_not_trained_twice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    recipe = importlib.import_module("recipe")
    trained = []

    def train(experiment: Experiment, seed: int, *, split: str, name: str) -> dict[str, Any]:
        trained.append((name, seed, experiment.training.ema.decay, experiment.training.epochs))
        return stored_line(name, seed, 30.0 + (seed - 8) * experiment.training.ema.decay)

    monkeypatch.setattr(recipe, "train", train)
    results = tmp_path / "recipe.jsonl"
    options = [str(BENCHMARKS / "pairs" / "chess.yaml"), "--results", str(results), "--set", "training.epochs=2"]
    options += ["--set", "data.root=.", "--set", "student.backbone_weights=file.pth"]
    monkeypatch.setattr(sys, "argv", ["recipe.py", *options])
    recipe.main()
    capsys.readouterr()
    recipe.main()
    printed = capsys.readouterr().out
    arms = list(yaml.safe_load((BENCHMARKS / "arms" / "training_recipes.yaml").read_text()))
    assert [each[:2] for each in trained] == [(arm, seed) for seed in (10, 11, 12) for arm in arms]
    assert {each[2:] for each in trained} == {(0.0, 2), (0.99, 2)}
    assert cell(printed, "ema", 4).startswith("+3.0 [")
    assert len(results.read_text().splitlines()) == 3 * len(arms)
    monkeypatch.setattr(sys, "argv", ["recipe.py", *options, "--summary", "--set", "training.epochs=3"])
    recipe.main()
    assert "| ema |" not in capsys.readouterr().out, "lines of another condition"


@pytest.mark.slow
@pytest.mark.usefixtures("benchmarks_can_be_imported", "same_number_of_threads")
def test_a_recipe_is_trained_without_a_teacher(tmp_path: Path) -> None:
    recipe = importlib.import_module("recipe")
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(small_values({"training": {"epochs": 1}})))
    experiment = recipe.experiment_of(tmp_path / "small.yaml", {"training.ema.decay": 0.5})
    assert experiment.teacher == experiment.student
    found = recipe.train(experiment, 10, split="test", name="ema")
    assert len(found["resampled_AP"]) == recipe.RESAMPLES
    assert 0 <= found["figures"]["AP"] <= 100


@pytest.mark.slow
@pytest.mark.usefixtures("same_number_of_threads")
def test_the_script_for_a_gpu_runs_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    small = "--device cpu --precision float32 --size 64 64 --batches 1 --pairs tiny --parts steps resume --minutes 1"
    monkeypatch.setattr(sys, "argv", ["on_gpu.py", *small.split()])
    importlib.import_module("on_gpu").main()
    *parts, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = {name: value for part in parts for name, value in part.items()}
    assert {name: last[name] for name in found} == found
    assert found["resume"] == {"largest_difference": 0.0, "of_another_run": 0.0}
    assert found["steps"][0]["seconds_per_step"]["student"] > 0


@pytest.mark.slow
def test_a_cohort_is_measured_against_separate_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    options = "--pairs quickstart --sizes 1 2 --rounds 1 --batches 1"
    monkeypatch.setattr(sys, "argv", ["cohort.py", *options.split()])
    importlib.import_module("cohort").main()
    sizes = json.loads(capsys.readouterr().out)["sizes"]
    assert sizes["1"]["over_separate"] == 1.0
    assert 0.3 < sizes["2"]["over_separate"] < 1.5
