"""Each family says truly on which level it looks for a box."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torchvision.ops.poolers import initLevelMapper

from distune.detectors.taps import Detector
from distune.detectors.zoo import build_detector
from distune.distillation.masks import level_of_boxes
from support.families import CLASSES, SETTINGS, build

IMAGE_PX = 512
STRIDES = (8, 16, 32, 64)


def box_of(side: float) -> torch.Tensor:
    """A square in the middle of the image, (1, 4)."""
    return torch.tensor([[IMAGE_PX - side, IMAGE_PX - side, IMAGE_PX + side, IMAGE_PX + side]]) / 2


def stride_of_places(detector: Detector, side: float) -> int:
    """The stride of the map on which most places of the head are trained for this box."""
    target = {"boxes": box_of(side), "labels": torch.tensor([1])}
    taps = detector.learn([torch.zeros(3, IMAGE_PX, IMAGE_PX)] * 2, [target] * 2)
    parts: Any = detector.model
    anchors_per_cell = parts.anchor_generator.num_anchors_per_location()
    sizes = [neck.shape[-2] * neck.shape[-1] for neck in taps.neck.values()]
    counts = [size * num for size, num in zip(sizes, anchors_per_cell, strict=False)]
    positive_A = taps.places.positive_R.reshape(2, -1)[0]
    positive_per_level = [int(each.sum()) for each in torch.split(positive_A[: sum(counts)], counts)]
    return list(taps.neck)[positive_per_level.index(max(positive_per_level))]


@pytest.mark.parametrize(
    ("family", "changes", "strides"),
    [
        ("retinanet", {"anchor_scale": 1.0}, (8, 16, 32, 64)),
        ("retinanet", {"anchor_scale": 0.5}, (8, 16, 32, 64)),
        ("fcos", {"anchor_scale": 0.5}, (8, 16, 32)),
        ("ssd", {"input_size_px": IMAGE_PX}, (8, 16, 32)),
        ("ssdlite", {"input_size_px": IMAGE_PX}, (16,)),  # its coarser default boxes grow by less than doubling
    ],
)
def test_heads_are_trained_on_the_level_that_the_base_size_says(
    family: str, changes: dict[str, Any], strides: tuple[int, ...]
) -> None:
    settings = SETTINGS[family].model_copy(update=changes)
    detector = build_detector(settings, classes=CLASSES, min_size_px=IMAGE_PX, max_size_px=IMAGE_PX, seed=0)
    for stride in strides:
        side = detector.base_size_px * stride / 4 * 2**0.5  # in the middle between this level and the next
        assert stride_of_places(detector, side) == stride
        level = level_of_boxes(box_of(side), strides, base_size_px=detector.base_size_px)
        assert strides[int(level)] == stride


@pytest.mark.parametrize("family", ["fasterrcnn", "maskrcnn"])
def test_two_stage_families_pool_where_it_says(family: str) -> None:
    detector = build(family)
    strides = (4, 8, 16, 32)
    boxes_N4 = torch.cat([box_of(float(side)) for side in range(10, 1000, 7)])
    pooled_from_N = initLevelMapper(2, 5, canonical_scale=224, canonical_level=4)([boxes_N4])
    assert torch.equal(level_of_boxes(boxes_N4, strides, base_size_px=detector.base_size_px), pooled_from_N)
