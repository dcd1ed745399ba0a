"""The settings that torchvision's pretrained detectors need. A test builds every one of them."""

from __future__ import annotations

import re
from typing import Any

_RESNET50: dict[str, Any] = {"backbone": "resnet50", "fpn_channels": 256}
_FASTER_RCNN: dict[str, Any] = {"family": "fasterrcnn", "box_head_channels": 1024}
_MASK_RCNN: dict[str, Any] = {"family": "maskrcnn", "box_head_channels": 1024, "mask_head_channels": 256}
_MOBILENET: dict[str, Any] = {"backbone": "mobilenet_v3_large", "levels": "last", "fpn_channels": 256, "head": "v1"}

PRETRAINED: dict[str, dict[str, Any]] = {
    "FasterRCNN_ResNet50_FPN_Weights.COCO_V1": {**_FASTER_RCNN, **_RESNET50, "levels": "all", "head": "v1"},
    "FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1": {**_FASTER_RCNN, **_RESNET50, "levels": "all", "head": "v2"},
    "FasterRCNN_MobileNet_V3_Large_FPN_Weights.COCO_V1": {**_FASTER_RCNN, **_MOBILENET},
    "FasterRCNN_MobileNet_V3_Large_320_FPN_Weights.COCO_V1": {**_FASTER_RCNN, **_MOBILENET},
    "FCOS_ResNet50_FPN_Weights.COCO_V1": {"family": "fcos", **_RESNET50},
    "MaskRCNN_ResNet50_FPN_Weights.COCO_V1": {**_MASK_RCNN, **_RESNET50, "levels": "all", "head": "v1"},
    "MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1": {**_MASK_RCNN, **_RESNET50, "levels": "all", "head": "v2"},
    "RetinaNet_ResNet50_FPN_Weights.COCO_V1": {"family": "retinanet", **_RESNET50, "head": "v1"},
    "RetinaNet_ResNet50_FPN_V2_Weights.COCO_V1": {"family": "retinanet", **_RESNET50, "head": "v2"},
    "SSD300_VGG16_Weights.COCO_V1": {"family": "ssd", "backbone": "vgg16"},
    "SSDLite320_MobileNet_V3_Large_Weights.COCO_V1": {
        "family": "ssdlite",
        "backbone": "mobilenet_v3_large",
        "reduce_tail": True,
    },
}
"""Name of the weights to the settings that they need."""

WITHOUT_EPSILON = (
    "FasterRCNN_ResNet50_FPN_Weights.COCO_V1",
    "MaskRCNN_ResNet50_FPN_Weights.COCO_V1",
    "RetinaNet_ResNet50_FPN_Weights.COCO_V1",
)
"""Weights that torchvision runs with an epsilon of 0 in their frozen batch norms."""


def is_torchvision_name(name: str) -> bool:
    """Return whether a name means weights of torchvision, such as ``ResNet50_Weights.DEFAULT``, and not a file."""
    return "_Weights." in name and "/" not in name


def is_url(name: str) -> bool:
    """Return whether a name of weights is an address, which is not downloaded."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", name) is not None


def canonical(name: str) -> str:
    """Return the name of weights with ``COCO_V1`` for ``DEFAULT``, which it is for all detectors of torchvision."""
    return name.replace("_Weights.DEFAULT", "_Weights.COCO_V1")


def incompatibilities(name: str, settings: dict[str, Any]) -> list[str]:
    """Return the settings that weights of torchvision need and that are different here, as text."""
    needed = PRETRAINED.get(canonical(name), {})
    return [
        f"{key}: {value} (not {settings[key]})"
        for key, value in needed.items()
        if key in settings and settings[key] != value
    ]
