"""A benchmark that compares two versions of something must compare the same thing, whatever the presets become."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from distune.config.data import ShapesData
from distune.data.shapes.shapes_dataset import make_shapes
from support.experiments import small_values

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SMALL = "--size 96 --channels 16 --classes 3 --teacher-backbone resnet18 --batch 2 --boxes 3 --rounds 3"


@pytest.fixture
def _same_number_of_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_same_number_of_threads")
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
@pytest.mark.usefixtures("_same_number_of_threads")
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


@pytest.fixture
def _benchmarks_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)


@pytest.mark.usefixtures("_benchmarks_can_be_imported")
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
