"""Detectors of all families and kinds of backbones, ready for an export."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch
from torch import Tensor

from distune.export.exportable import Exportable
from support.families import CLASSES, SETTINGS, build, with_random_heads

HAS_TIMM = importlib.util.find_spec("timm") is not None
Case = tuple[str, dict[str, Any]]

CASES: tuple[Case, ...] = (
    *((family, {}) for family in SETTINGS),
    ("retinanet", {"backbone": "resnet18", "norm": "frozen", "norm_eps": 0.0, "head": "v1", "anchor_scale": 1.0}),
    ("retinanet", {"backbone": "mobilenet_v3_small", "input_mean": [0.5, 0.5, 0.5]}),
    ("retinanet", {"backbone": "mobilenet_v2", "norm": "own", "input_std": [1.0, 1.0, 0.5]}),
    ("retinanet", {"backbone": "regnet_y_400mf", "norm": "group"}),
    ("retinanet", {"backbone": "resnet10_025", "norm": "group"}),
    ("fcos", {"backbone": "resnet18", "norm": "group", "norm_eps": 1e-3, "anchor_scale": 1.0}),
    ("fasterrcnn", {"head": "v2", "norm": "group"}),
    ("fasterrcnn", {"backbone": "mobilenet_v3_small", "levels": "last", "min_proposal_score": 0.05}),
    ("fasterrcnn", {"anchor_scale": 1.0, "box_head_channels": 1024, "evaluated_proposals": 150}),
    ("maskrcnn", {"head": "v2", "mask_head_channels": 8}),
    ("maskrcnn", {"box_head_channels": 1024, "mask_head_channels": 256}),
    ("ssd", {"input_size_px": 300}),
    ("ssdlite", {"backbone": "mobilenet_v3_large", "reduce_tail": False}),
    ("retinanet", {"backbone": "timm/convnext_atto", "norm": "own"}),
    ("fasterrcnn", {"backbone": "timm/mobilenetv3_small_050", "norm": "frozen", "head": "v2"}),
    ("fcos", {"backbone": "timm/resnet10t", "norm": "group"}),
    ("maskrcnn", {"backbone": "timm/mobilenetv3_small_050", "norm": "batch", "norm_eps": 1e-4}),
)
"""Every family, kind of backbone, normalization, head, and setting that changes what a detector computes."""

SIZES = ((100, 130), (40, 50), (130, 60))
"""Images that are shrunk, enlarged, and tall."""


NUM_FAMILIES = len(SETTINGS)
"""The first cases, one of each family."""


def name_of(case: Case) -> str:
    """The name of a case in a test."""
    return "-".join([case[0], *(f"{name}={value}" for name, value in case[1].items())]).replace(" ", "")


def exportable(case: Case) -> Exportable:
    """Build the detector of a case, with enough detections."""
    family, changes = case
    if changes.get("backbone", "").startswith("timm/") and not HAS_TIMM:
        pytest.skip("timm is not installed")
    model: Any = with_random_heads(build(family, **changes)).model
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("cls_logits.bias"):
                parameter.fill_(-1.0)  # scores of the initial weights are below the threshold
            if family == "ssd" and name.startswith("head.classification_head."):
                parameter.mul_(0.05)  # hundreds of scores are exactly 1, and their order has no meaning
    settings = SETTINGS[family].model_copy(update=changes)
    return Exportable(model=model.eval(), settings=settings, classes=CLASSES, title="study small, trial 3")


def images() -> list[Tensor]:
    """One image of each size."""
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(3, *size, generator=generator) for size in SIZES]
