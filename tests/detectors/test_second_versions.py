"""Architectures of torchvision's other detectors: second versions of heads, and the levels of MobileNet."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from distune.config.detector import DetectorSettings
from distune.detectors.levels import probe_levels
from distune.detectors.taps import Detector
from distune.detectors.twostage import neck_maps
from distune.detectors.zoo import build_detector


def build(family: str, **changes: Any) -> Detector:
    values = {"family": family, "backbone": "resnet10", "fpn_channels": 16, "anchor_scale": 0.5, **changes}
    settings = TypeAdapter[DetectorSettings](DetectorSettings).validate_python(values)
    return build_detector(settings, classes=("cat", "dog"), min_size_px=64, max_size_px=64, seed=0)


def batch() -> tuple[list[torch.Tensor], list[dict[str, torch.Tensor]]]:
    images = [torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(1))]
    return images, [{"boxes": torch.tensor([[4.0, 4.0, 40.0, 40.0]]), "labels": torch.tensor([2])}]


@pytest.mark.parametrize("family", ["fasterrcnn", "maskrcnn", "retinanet"])
def test_second_versions_have_the_norm_of_the_backbone(family: str) -> None:
    changes = {} if family == "retinanet" else {"box_head_channels": 16}
    changes |= {"mask_head_channels": 16} if family == "maskrcnn" else {}
    kinds: dict[str, set[type]] = {}
    for norm in ("group", "batch"):
        model = build(family, head="v2", norm=norm, **changes).model
        heads: list[Any] = [each for name, each in model.named_modules() if not name.startswith("backbone.body")]
        kinds[norm] = {type(each) for each in heads if isinstance(each, nn.GroupNorm | nn.BatchNorm2d)}
    assert kinds["group"] == {nn.GroupNorm}
    assert kinds["batch"] == ({nn.GroupNorm} if family == "retinanet" else {nn.BatchNorm2d})


@pytest.mark.parametrize("family", ["fasterrcnn", "retinanet"])
def test_second_versions_take_a_step(family: str) -> None:
    detector = build(family, head="v2", norm="group")
    taps = detector.forward_train(*batch())
    torch.stack(list(taps.losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    missing = [name for name, value in detector.model.named_parameters() if value.grad is None]
    assert missing == []


@pytest.mark.parametrize("backbone", ["mobilenet_v2", "mobilenet_v3_small"])
def test_levels_last_are_those_of_the_box_head(backbone: str) -> None:
    detector = build("fasterrcnn", backbone=backbone, levels="last", norm="group", box_head_channels=16)
    assert probe_levels(detector, torch.zeros(3, 64, 64)) == {32: 16, 64: 16}
    images, targets = batch()
    taps = detector.forward_train(images, targets)
    assert taps.prediction_sites.logits_RC.shape[1] == 3
    looked_at: list[torch.Tensor] = []
    heads: Any = detector.model.roi_heads
    pool = heads.box_roi_pool
    pool.register_forward_hook(lambda _, given, __: looked_at.extend(neck_maps(given[0])[:1]))
    seen = detector.forward_teacher(images)
    seen.logits_at(taps.prediction_sites)
    assert torch.equal(looked_at[0], seen.neck[32])
    assert pool.map_levels.k_min == pool.map_levels.k_max == 5  # boxes of all sizes
