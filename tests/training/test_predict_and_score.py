"""Scores against hand-computed cases, and against literal versions of their definitions."""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor, nn

from distune.data.dataset import DetectionDataset
from distune.errors import DataError
from distune.training.evaluation.predict_and_score import Prediction, evaluate, metric_names, predict, score
from support.datasets import MemoryDataset, annotate

CPU = torch.device("cpu")
Box = tuple[float, float, float, float]


def prediction(index: int, boxes: Sequence[Box], labels: Sequence[int], scores: Sequence[float]) -> Prediction:
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "scores": torch.tensor(scores, dtype=torch.float32),
        "image_index": torch.tensor(index),
    }


def perfect(dataset: DetectionDataset) -> list[Prediction]:
    found = []
    for index in range(len(dataset)):
        image = dataset.annotations(index)
        boxes = [tuple(box) for box in image.boxes_N4.tolist()]
        found.append(prediction(index, boxes, image.labels_N.tolist(), [0.9] * len(boxes)))
    return found


class TestByHand:
    def test_perfect_detections_score_100(self) -> None:
        dataset = MemoryDataset(
            [annotate([(0, 0, 20, 20), (50, 50, 90, 90)], [1, 2]), annotate([], [], index=1)], ("cat", "dog", "bird")
        )
        metrics = score(perfect(dataset), dataset)
        assert metrics.keys() == {
            "AP", "AP50", "AP75", "AP_small", "AP_medium", "AP/cat", "AP/dog", "VOC_AP50", "VOC07_AP50"
        }  # fmt: skip
        assert list(metrics.values()) == pytest.approx([100.0] * 9)

    def test_one_of_two_found_at_an_overlap_of_six_tenths(self) -> None:
        dataset = MemoryDataset([annotate([(0, 0, 10, 10), (50, 50, 60, 60)], [1, 1])], ("cat",))
        metrics = score([prediction(0, [(0, 0, 10, 6)], [1], [0.8])], dataset)
        # Recall 1/2 at precision 1, at the overlaps .5, .55 and .6 of ten: 51 of 101 recall points.
        assert metrics["AP50"] == pytest.approx(100 * 51 / 101)
        assert metrics["AP"] == pytest.approx(100 * 0.3 * 51 / 101)
        assert metrics["AP75"] == 0
        assert metrics["VOC_AP50"] == pytest.approx(50)
        assert metrics["VOC07_AP50"] == pytest.approx(100 * 6 / 11)  # the recalls 0 to 0.5 of eleven

    def test_eleven_recalls_of_voc2007_and_the_whole_area(self) -> None:
        boxes: list[Box] = [
            (20 * column, 20 * row, 20 * column + 10, 20 * row + 10) for row in (0, 1) for column in range(5)
        ]
        dataset = MemoryDataset([annotate(boxes, [1] * 10)], ("cat",))
        found: list[Box] = [*boxes[:3], (80, 80, 90, 90), boxes[3]]
        metrics = score([prediction(0, found, [1] * 5, [0.9, 0.8, 0.7, 0.6, 0.5])], dataset)
        # Precision 1 up to recall 0.3, exactly three of ten boxes, and 4/5 at 0.4.
        assert metrics["VOC07_AP50"] == pytest.approx(100 * (4 * 1 + 0.8) / 11)
        assert metrics["VOC_AP50"] == pytest.approx(100 * (0.3 * 1 + 0.1 * 0.8))

    def test_a_wrong_detection_before_the_right_one_halves_the_precision(self) -> None:
        dataset = MemoryDataset([annotate([(0, 0, 10, 10)], [1])], ("cat",))
        found = prediction(0, [(80, 80, 90, 90), (0, 0, 10, 10)], [1, 1], [0.9, 0.5])
        metrics = score([found], dataset)
        assert [metrics["AP50"], metrics["AP"]] == pytest.approx([50, 50])
        assert [metrics["VOC_AP50"], metrics["VOC07_AP50"]] == pytest.approx([50, 50])
        after = prediction(0, [(80, 80, 90, 90), (0, 0, 10, 10)], [1, 1], [0.4, 0.5])
        assert score([after], dataset)["AP"] == pytest.approx(100)

    def test_the_class_must_be_correct(self) -> None:
        dataset = MemoryDataset([annotate([(0, 0, 10, 10)], [1])])
        metrics = score([prediction(0, [(0, 0, 10, 10)], [2], [0.9])], dataset)
        assert metrics["AP"] == metrics["VOC_AP50"] == metrics["AP/cat"] == 0
        assert "AP/dog" not in metrics

    @pytest.mark.parametrize("kind", ["crowd", "difficult"])
    def test_detections_of_ignored_boxes_are_ignored(self, kind: str) -> None:
        def ignoring(boxes: list[Box], marks: list[bool]) -> MemoryDataset:
            crowd, difficult = (marks, None) if kind == "crowd" else (None, marks)
            return MemoryDataset([annotate(boxes, [1] * len(boxes), crowd=crowd, difficult=difficult)], ("cat",))

        dataset = ignoring([(0, 0, 10, 10), (40, 40, 80, 80)], [False, True])
        found = prediction(0, [(0, 0, 10, 10), (40, 40, 80, 80), (41, 41, 80, 80)], [1, 1, 1], [0.5, 0.9, 0.8])
        metrics = score([found], dataset)
        assert [metrics["AP"], metrics["VOC_AP50"]] == pytest.approx([100, 100])
        assert score([prediction(0, [], [], [])], ignoring([(40, 40, 80, 80)], [True])) == {}

    def test_a_detection_within_a_crowd_is_not_wrong(self) -> None:
        boxes = [(0.0, 0.0, 10.0, 10.0), (20.0, 20.0, 100.0, 100.0)]
        dataset = MemoryDataset([annotate(boxes, [1, 1], crowd=[False, True])], ("cat",))
        found = prediction(0, [boxes[0], (30, 30, 40, 40)], [1, 1], [0.5, 0.9])
        assert score([found], dataset)["AP"] == pytest.approx(100)

    def test_areas_come_from_the_annotations(self) -> None:
        dataset = MemoryDataset([annotate([(0, 0, 20, 20), (0, 0, 100, 100)], [1, 1], size=(200, 200))], ("cat",))
        metrics = score([prediction(0, [(0, 0, 20, 20)], [1], [0.9])], dataset)
        assert metrics["AP_small"] == pytest.approx(100)
        assert metrics["AP_large"] == 0
        assert "AP_medium" not in metrics

    def test_no_detections_give_zeros(self) -> None:
        dataset = MemoryDataset([annotate([(0, 0, 20, 20)], [1])])
        for nothing in ([prediction(0, [], [], [])], perfect(MemoryDataset([annotate([], [])]))):
            metrics = score(nothing, dataset)
            assert metrics.keys() == {"AP", "AP50", "AP75", "AP_small", "AP/cat", "VOC_AP50", "VOC07_AP50"}
            assert set(metrics.values()) == {0.0}

    def test_images_without_a_prediction_are_left_out(self) -> None:
        images = [annotate([(0, 0, 20, 20)], [1], index=index) for index in range(2)]
        dataset = MemoryDataset(images, ("cat",))
        assert score(perfect(dataset)[1:], dataset)["AP"] == pytest.approx(100)
        assert score([], dataset) == {}

    def test_two_detections_of_one_box_in_a_row_match_as_voc_does(self) -> None:
        # The second detection overlaps the claimed box most. VOC calls it wrong; COCO lets it claim the other one.
        dataset = MemoryDataset([annotate([(0, 0, 100, 100), (0, 25, 100, 125)], [1, 1], size=(200, 200))], ("cat",))
        found = prediction(0, [(0, 0, 100, 100), (0, 10, 100, 110)], [1, 1], [0.9, 0.8])
        metrics = score([found], dataset)
        assert metrics["AP50"] == pytest.approx(100)
        assert metrics["VOC_AP50"] == pytest.approx(50)

    def test_nothing_is_printed(self, capsys: pytest.CaptureFixture[str]) -> None:
        dataset = MemoryDataset([annotate([(0, 0, 20, 20)], [1])])
        score(perfect(dataset), dataset)
        assert capsys.readouterr().out == ""


def iou(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return float(width * height / (areas[0] + areas[1] - width * height))


def literal(predictions: list[Prediction], dataset: DetectionDataset, label: int, *, metric: str) -> float:
    """AP at an overlap of 0.5, one detection at a time, by the definitions of VOC and COCO."""
    voc = metric.startswith("VOC")
    detections = [
        (float(value), int(found["image_index"]), box.astype(np.float64))
        for found in predictions
        for value, box, kind in zip(found["scores"], found["boxes"].numpy(), found["labels"], strict=True)
        if int(kind) == label
    ]
    detections.sort(key=lambda item: -item[0])
    claimed: set[tuple[int, int]] = set()
    right: list[bool] = []
    for _, index, box in detections:
        image = dataset.annotations(index)
        candidates = [
            (iou(box, truth.astype(np.float64)), number)
            for number, truth in enumerate(image.boxes_N4)
            if image.labels_N[number] == label and (voc or (index, number) not in claimed)
        ]
        best, number = max(candidates, default=(0.0, -1))
        hit = best >= 0.5 and (index, number) not in claimed
        if hit:
            claimed.add((index, number))
        right.append(hit)
    total = sum(int((dataset.annotations(index).labels_N == label).sum()) for index in range(len(dataset)))
    # Recall and precision after each detection.
    points = [(sum(right[:count]) / total, sum(right[:count]) / count) for count in range(1, len(right) + 1)]
    if metric == "VOC07_AP50":
        exact = [(Fraction(sum(right[:count]), total), p) for count, (_, p) in enumerate(points, start=1)]
        tenths = [Fraction(number, 10) for number in range(11)]
        return float(np.mean([max((p for r, p in exact if r >= level), default=0.0) for level in tenths]))
    if not voc:
        grid = np.linspace(0, 1, 101)
        return float(np.mean([max((p for r, p in points if r >= level), default=0.0) for level in grid]))
    area, last = 0.0, 0.0
    for position, (recall, _) in enumerate(points):
        area += (recall - last) * max(p for _, p in points[position:])
        last = recall
    return area


@hypothesis_settings(max_examples=40)
@given(seed=st.integers(0, 10_000), num_images=st.integers(1, 4), spread=st.floats(0.5, 12.0))
def test_ap50_agrees_with_the_literal_definitions(seed: int, num_images: int, spread: float) -> None:
    generator = np.random.default_rng(seed)
    images, predictions = [], []
    for index in range(num_images):
        count = int(generator.integers(1, 5))
        corners = generator.uniform(0, 60, size=(count, 2))
        boxes = np.concatenate([corners, corners + generator.uniform(10, 35, size=(count, 2))], axis=1)
        labels = generator.integers(1, 3, size=count)
        images.append(annotate([tuple(box) for box in boxes], labels.tolist(), index=index))
        picks = generator.integers(0, count, size=int(generator.integers(0, 9)))
        found = boxes[picks] + generator.normal(0, spread, size=(len(picks), 4))
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        guesses = np.where(generator.random(len(picks)) < 0.8, labels[picks], 3 - labels[picks])
        rows = [tuple(box) for box in found]
        scores = generator.permutation(len(picks)) / 10 + 0.01 * index
        predictions.append(prediction(index, rows, guesses.tolist(), scores.tolist()))
    dataset = MemoryDataset(images)
    metrics = score(predictions, dataset)
    present = sorted({int(label) for image in images for label in image.labels_N})
    for name in ("AP50", "VOC_AP50", "VOC07_AP50"):
        expected = np.mean([literal(predictions, dataset, label, metric=name) for label in present])
        assert metrics[name] == pytest.approx(100 * expected, abs=1e-6)
    assert all(0 <= value <= 100 for value in metrics.values())


def test_metric_names_are_accepted_by_mlflow() -> None:
    classes = ["traffic light", "a/b", "a_b", "猫", "犬", "..", "AP[person]", "", "x.y-z:1"]
    names = metric_names(classes)
    assert names[:3] == ["AP/traffic light", "AP/a_b", "AP/a_b_2"]
    assert names[-1] == "AP/x.y-z:1"
    assert len(set(names)) == len(classes)
    for name in names:
        assert re.fullmatch(r"[A-Za-z0-9_\-. :/]+", name)
        assert posixpath.normpath(name) == name


class Stub(nn.Module):
    """Finds the box of its choice in every image, in the manner of torchvision's detectors."""

    def __init__(self, **output: Any) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.frozen = nn.BatchNorm2d(3).eval()
        self.output = {"boxes": [[0.0, 0.0, 20.0, 20.0]], "scores": [0.9], "labels": [1], **output}
        self.batches: list[int] = []
        self.values: list[float] = []

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        assert not self.training
        assert not self.norm.training
        assert torch.is_inference_mode_enabled()
        self.batches.append(len(images))
        self.values += [float(image.mean()) * 255 for image in images]
        return [{name: torch.tensor(value) for name, value in self.output.items()} for _ in images]


def cats(count: int, *, corrupt: Sequence[int] = ()) -> MemoryDataset:
    images = [annotate([(0, 0, 20, 20)], [1], index=index, size=(24, 24)) for index in range(count)]
    return MemoryDataset(images, ("cat",), corrupt=corrupt)


class TestPredict:
    def test_all_images_go_through_in_order_and_keep_their_scale(self) -> None:
        model = Stub()
        found = predict(model, cats(5), device=CPU, batch_size=2)
        assert model.batches == [2, 2, 1]
        assert model.values == pytest.approx([0, 1, 2, 3, 4], abs=1e-4)
        assert [int(item["image_index"]) for item in found] == [0, 1, 2, 3, 4]
        assert not found[0]["boxes"].requires_grad

    @pytest.mark.parametrize("training", [True, False])
    def test_the_mode_of_each_module_is_restored_also_after_an_error(self, training: bool) -> None:
        model = Stub().train(training)
        model.frozen.eval()
        predict(model, cats(1), device=CPU, batch_size=1)
        assert [model.training, model.norm.training, model.frozen.training] == [training, training, False]
        broken = Stub(boxes=None).train(training)
        with pytest.raises(RuntimeError, match="dtype"):
            predict(broken, cats(1), device=CPU, batch_size=1)
        assert broken.norm.training is training

    def test_detections_that_are_not_finite_are_dropped(self) -> None:
        good = [0.0, 0.0, 20.0, 20.0]
        model = Stub(
            boxes=[[math.nan, 0.0, 1.0, 1.0], good, [0.0, 0.0, math.inf, 1.0], good],
            scores=[0.9, math.nan, 0.9, 0.7],
            labels=[1, 1, 1, 1],
        )
        dataset = cats(2)
        found = predict(model, dataset, device=CPU, batch_size=2)
        assert [item["scores"].tolist() for item in found] == [[pytest.approx(0.7)]] * 2
        assert score(found, dataset)["AP"] == pytest.approx(100)

    def test_a_detector_that_finds_nothing_scores_zero(self) -> None:
        empty = Stub(boxes=torch.zeros(0, 4).tolist(), scores=[], labels=[])
        empty.output["labels"] = np.zeros(0, dtype=np.int64)
        metrics = evaluate(empty, cats(2), device=CPU, batch_size=2)
        assert set(metrics.values()) == {0.0}

    def test_half_precision_outputs_become_float32(self) -> None:
        class Half(Stub):
            def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
                assert torch.is_autocast_enabled("cpu")
                found = super().forward(images)
                return [{**item, "scores": item["scores"].bfloat16()} for item in found]

        found = predict(Half(), cats(1), device=CPU, batch_size=1, autocast_dtype=torch.bfloat16)
        assert found[0]["scores"].dtype == torch.float32

    def test_a_corrupt_image_is_left_out_and_too_many_raise(self) -> None:
        dataset = cats(5, corrupt=[2])
        found = predict(Stub(), dataset, device=CPU, batch_size=1)
        assert [int(item["image_index"]) for item in found] == [0, 1, 3, 4]
        assert score(found, dataset)["AP"] == pytest.approx(100)
        with pytest.raises(DataError, match="2 of 5 images are corrupt"):
            predict(Stub(), cats(5, corrupt=[2, 3]), device=CPU, batch_size=2)

    def test_the_random_state_does_not_change(self) -> None:
        before = torch.get_rng_state()
        evaluate(Stub(), cats(3), device=CPU, batch_size=2)
        assert torch.equal(torch.get_rng_state(), before)

    def test_workers_change_nothing(self) -> None:
        alone, helped = (predict(Stub(), cats(3), device=CPU, batch_size=2, num_workers=count) for count in (0, 1))
        for one, other in zip(alone, helped, strict=True):
            assert one.keys() == other.keys()
            assert all(torch.equal(one[name], other[name]) for name in one)

    def test_evaluate_equals_predict_and_score(self) -> None:
        assert evaluate(Stub(), cats(3), device=CPU, batch_size=2)["AP"] == pytest.approx(100)
        boxes = [[0.0, 0.0, 20.0, 12.0]]
        assert evaluate(Stub(boxes=boxes), cats(3), device=CPU, batch_size=2)["AP"] == pytest.approx(30)
