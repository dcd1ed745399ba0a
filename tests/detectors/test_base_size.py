"""The base size of each family is the box size of its levels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.models.detection.image_list import ImageList
from torchvision.ops.poolers import initLevelMapper

from distune.detectors.onestage import OneStageDetector
from distune.detectors.zoo import build_detector
from distune.distillation.maps.box_masks import level_of_boxes
from support.families import CLASSES, SETTINGS, build

IMAGE_PX = 512
NUM_PLACES = 8
STEPS_PER_DOUBLING = 8
LARGEST = 0.45
"""As a fraction of the image; SSDlite's default boxes leave the doubling of strides from there on."""


def busiest_levels(detector: OneStageDetector, sides: list[float]) -> list[int]:
    """Return, for squares of each side, the level on which most sites of the head are matched to them."""
    model: Any = detector.model.eval()
    images = torch.zeros(1, 3, IMAGE_PX, IMAGE_PX)
    with torch.no_grad():
        features = list(model.backbone(images).values())
        [anchors_A4] = model.anchor_generator(ImageList(images, [(IMAGE_PX, IMAGE_PX)]), features)
    per_cell = model.anchor_generator.num_anchors_per_location()
    counts = [each.shape[-2] * each.shape[-1] * num for each, num in zip(features, per_cell, strict=True)]
    generator = torch.Generator().manual_seed(0)
    found = []
    for side in sides:
        positive_L = torch.zeros(len(counts))
        for _ in range(NUM_PLACES):
            corner_2 = torch.rand(2, generator=generator) * (IMAGE_PX - side)
            box_14 = torch.cat([corner_2, corner_2 + side])[None]
            matched_A = detector._match(box_14, anchors_A4, features)
            positive_L += torch.stack([(each >= 0).sum() for each in torch.split(matched_A, counts)])
        found.append(int(positive_L.argmax()))
    return found


def squares(sides: list[float]) -> Tensor:
    """(N, 4)."""
    return torch.tensor([[0.0, 0.0, side, side] for side in sides])


@pytest.mark.parametrize(
    ("family", "changes", "strides"),
    [
        ("retinanet", {"anchor_scale": 1.0}, (8, 16, 32, 64)),
        ("retinanet", {"anchor_scale": 0.5}, (8, 16, 32, 64)),
        ("fcos", {"anchor_scale": 1.0}, (8, 16, 32)),
        ("fcos", {"anchor_scale": 0.5}, (8, 16, 32)),
        ("ssd", {"input_size_px": IMAGE_PX}, (8, 16, 32)),
        ("ssdlite", {"input_size_px": IMAGE_PX}, (16, 32)),
    ],
)
def test_heads_match_boxes_on_the_level_of_the_base_size(
    family: str, changes: dict[str, Any], strides: tuple[int, ...]
) -> None:
    settings = SETTINGS[family].model_copy(update=changes)
    detector = build_detector(settings, classes=CLASSES, min_size_px=IMAGE_PX, max_size_px=IMAGE_PX, seed=0)
    assert isinstance(detector, OneStageDetector)
    smallest = detector.base_size_px * strides[0] / 4
    sides = [smallest * 2 ** (step / STEPS_PER_DOUBLING) for step in range(STEPS_PER_DOUBLING * len(strides))]
    sides = [side for side in sides if side < LARGEST * IMAGE_PX]
    busiest_N = torch.tensor(busiest_levels(detector, sides))

    def agreement(factor: float) -> float:
        said_N = level_of_boxes(squares(sides), strides, base_size_px=detector.base_size_px * factor)
        return float((busiest_N == said_N).float().mean())

    assert agreement(1.0) > 0.8
    assert agreement(0.6) < agreement(1.0) - 0.1
    assert agreement(1.6) < agreement(1.0) - 0.1


@pytest.mark.parametrize("family", ["fasterrcnn", "maskrcnn"])
def test_two_stage_families_pool_from_the_level_of_the_base_size(family: str) -> None:
    """On the strides that are pooled from; the coarsest map of the neck is for proposals alone."""
    detector = build(family)
    boxes_N4 = squares([float(side) for side in range(10, 1000, 7)])
    pooled_from_N = initLevelMapper(2, 5, canonical_scale=224, canonical_level=4)([boxes_N4])
    said_N = level_of_boxes(boxes_N4, (4, 8, 16, 32), base_size_px=detector.base_size_px)
    assert torch.equal(said_N, pooled_from_N)
