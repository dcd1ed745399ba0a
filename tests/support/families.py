"""Tiny detectors of every family, and a batch that all of them can train on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from distune.config.detector import (
    DetectorSettings,
    FasterRcnnSettings,
    FcosSettings,
    MaskRcnnSettings,
    RetinaNetSettings,
    SsdliteSettings,
    SsdSettings,
)
from distune.detectors.taps import Detector
from distune.detectors.zoo import build_detector

CLASSES = ("cat", "dog", "owl")
_PYRAMID: dict[str, Any] = {"backbone": "resnet10_025", "fpn_channels": 32, "anchor_scale": 0.5}
_TWO_STAGE: dict[str, Any] = {**_PYRAMID, "box_head_channels": 32, "proposals_per_image": 16}

SETTINGS: dict[str, DetectorSettings] = {
    "fasterrcnn": FasterRcnnSettings(family="fasterrcnn", **_TWO_STAGE),
    "fcos": FcosSettings(family="fcos", **{**_PYRAMID, "fpn_channels": 64}),
    "maskrcnn": MaskRcnnSettings(family="maskrcnn", mask_head_channels=8, **_TWO_STAGE),
    "retinanet": RetinaNetSettings(family="retinanet", **_PYRAMID),
    "ssd": SsdSettings(family="ssd", input_size_px=64),
    "ssdlite": SsdliteSettings(family="ssdlite", backbone="mobilenet_v3_small", input_size_px=128),
}


def build(family: str, seed: int = 0, **changes: Any) -> Detector:
    """Build a tiny detector with changed settings."""
    settings = SETTINGS[family].model_copy(update=changes)
    return build_detector(settings, classes=CLASSES, min_size_px=64, max_size_px=96, seed=seed)


def batch() -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Two images of different sizes with three boxes in all, filled by their masks."""
    generator = torch.Generator().manual_seed(1)
    images = [torch.rand(3, 64, 96, generator=generator), torch.rand(3, 64, 64, generator=generator)]
    boxes = [[[4.0, 4.0, 40.0, 40.0], [50.0, 10.0, 90.0, 60.0]], [[10.0, 10.0, 30.0, 50.0]]]
    labels, origins, positions = [[1, 3], [2]], [7, 9], [[0, 2], [1]]
    targets = [
        {
            "boxes": torch.tensor(boxes[index]),
            "labels": torch.tensor(labels[index]),
            "image_index": torch.tensor(origins[index]),
            "box_index": torch.tensor(positions[index]),
            "masks": _filled(torch.tensor(boxes[index]), images[index]),
        }
        for index in range(2)
    ]
    return images, targets


def without_boxes(image: Tensor) -> dict[str, Tensor]:
    """The target of an image without boxes."""
    return {
        "boxes": torch.zeros(0, 4),
        "labels": torch.zeros(0, dtype=torch.int64),
        "image_index": torch.tensor(1),
        "box_index": torch.zeros(0, dtype=torch.int64),
        "masks": torch.zeros(0, *image.shape[1:], dtype=torch.uint8),
    }


def freeze_statistics(detector: Detector) -> Detector:
    """Put batch norms into evaluation mode, also in training."""
    for module in detector.model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    return detector


def with_random_heads(detector: Detector) -> Detector:
    """Randomize a detector so that its maps are not nearly zero in evaluation, and its scores differ between sites."""
    generator = torch.Generator().manual_seed(2)
    for module in detector.model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    detector.model.train()
    with torch.no_grad():
        for name, parameter in detector.model.named_parameters():
            if not name.startswith("backbone."):
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
        detector.forward_train(*batch())
    detector.model.eval()
    return detector


def _filled(boxes_n4: Tensor, image: Tensor) -> Tensor:
    masks = torch.zeros(len(boxes_n4), *image.shape[1:], dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes_n4.int().tolist(), strict=True):
        mask[y1:y2, x1:x2] = 1
    return masks
