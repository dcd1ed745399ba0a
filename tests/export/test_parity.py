"""The comparison of an exported file with its detector: what is found again, AP, and what is refused."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from distune.config.data import ShapesData
from distune.data.build import build_splits
from distune.data.dataset import DetectionDataset
from distune.errors import ExportError
from distune.export.formats import Runtime
from distune.export.parity import MAX_AP_DIFFERENCE, Parity, check, compare

IMAGES = 4


@pytest.fixture(scope="module")
def dataset() -> DetectionDataset:
    values: dict[str, Any] = {
        "num_train": 1,
        "num_search": IMAGES,
        "num_test": 1,
        "num_classes": 2,
        "image_size_px": 64,
    }
    return build_splits(ShapesData(kind="shapes", **values)).search


class Perfect(torch.nn.Module):
    """Gives the boxes of the split, image after image, and counts its calls."""

    def __init__(self, dataset: DetectionDataset, *, shift_px: float = 0.0, dropped: int = 0) -> None:
        super().__init__()
        self.dataset, self.shift_px, self.dropped = dataset, shift_px, dropped
        self.index = -2  # two calls to warm up

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        truth = self.dataset.annotations(max(self.index, 0))
        self.index += 1
        kept = slice(self.dropped, None)
        boxes = torch.from_numpy(truth.boxes_N4).float() + self.shift_px
        labels = torch.from_numpy(truth.labels_N)
        return [{"boxes": boxes[kept], "labels": labels[kept], "scores": torch.full((len(labels),), 0.9)[kept]}]


def runtime(model: Perfect) -> Runtime:
    return lambda image: model([image])[0]


def of(dataset: DetectionDataset, **changes: Any) -> Parity:
    return compare(Perfect(dataset), runtime(Perfect(dataset, **changes)), dataset, max_images=100)


def test_the_same_detections_pass(dataset: DetectionDataset) -> None:
    parity = of(dataset)
    assert parity.num_images == IMAGES
    assert parity.ap == parity.exported_ap == pytest.approx(100)
    assert parity.num_detections == parity.num_found > 0
    assert parity.max_box_px == parity.max_score == 0
    assert parity.latency_ms > 0
    check(parity, file="student.onnx")


def test_boxes_that_are_off_fail_by_ap(dataset: DetectionDataset) -> None:
    parity = of(dataset, shift_px=6.0)
    assert parity.ap_difference is not None
    assert parity.ap_difference < -MAX_AP_DIFFERENCE
    with pytest.raises(
        ExportError, match=r"student.onnx differs from the detector on 4 images: its AP is .* 0.1 points"
    ):
        check(parity, file="student.onnx")


def test_boxes_that_are_off_without_an_effect_on_ap_fail_too(dataset: DetectionDataset) -> None:
    """As with a detector that is too poor to have an AP."""
    parity = of(dataset, shift_px=0.6)
    assert parity.num_found == 0
    assert parity.problem is not None


def test_small_differences_are_measured(dataset: DetectionDataset) -> None:
    parity = of(dataset, shift_px=0.001)
    assert parity.num_found == parity.num_detections
    assert parity.max_box_px == pytest.approx(0.001, rel=0.1)
    check(parity, file="student.onnx")


def test_lost_detections_are_counted(dataset: DetectionDataset) -> None:
    parity = of(dataset, dropped=1)
    assert parity.num_found == parity.num_detections - IMAGES
    assert parity.problem is not None


def test_detections_of_the_file_alone_are_counted(dataset: DetectionDataset) -> None:
    parity = compare(Perfect(dataset, dropped=100), runtime(Perfect(dataset)), dataset, max_images=100)
    assert parity.num_detections == 0
    assert parity.num_extra >= IMAGES
    assert (
        dataclasses.replace(parity, ap=None).problem
        == f"it gives {parity.num_extra} detections more than the detector's 0"
    )


def test_the_number_of_images_is_limited_and_progress_is_reported(dataset: DetectionDataset) -> None:
    seen: list[tuple[int, int]] = []
    model, other = Perfect(dataset), Perfect(dataset)
    parity = compare(
        model, runtime(other), dataset, max_images=2, on_image=lambda done, total: seen.append((done, total))
    )
    assert parity.num_images == 2
    assert seen == [(1, 2), (2, 2)]


def test_detections_of_classes_that_the_split_lacks_are_dropped(dataset: DetectionDataset) -> None:
    model, other = Perfect(dataset), Perfect(dataset)
    parity = compare(model, runtime(other), dataset, max_images=9, labels_K=torch.zeros(3, dtype=torch.int64))
    assert parity.num_detections == 0
    assert parity.ap == 0
