"""Each model normalizes its input itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from distune.config.detector import DetectorSettings
from distune.detectors.taps import Detector
from distune.detectors.zoo import FAMILIES, build_detector

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def build(family: str, **changes: Any) -> Detector:
    backbone = {"ssd": {}, "ssdlite": {}}.get(family, {"backbone": "resnet10", "fpn_channels": 64})
    settings = TypeAdapter[DetectorSettings](DetectorSettings).validate_python(
        {"family": family, **backbone, **changes}
    )
    return build_detector(settings, classes=("cat",), min_size_px=64, max_size_px=64, seed=0)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_uses_the_settings(family: str) -> None:
    with torch.device("meta"):
        given: Any = build(family, input_mean=[0.1, 0.2, 0.3], input_std=[1.0, 2.0, 3.0]).model
        default: Any = build(family).model
    assert given.transform.image_mean == [0.1, 0.2, 0.3]
    assert given.transform.image_std == [1.0, 2.0, 3.0]
    if not family.startswith("ssd"):
        assert (default.transform.image_mean, default.transform.image_std) == IMAGENET


def test_statistics_equal_normalized_images() -> None:
    image = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    mean, std = IMAGENET
    plain = build("retinanet").neck_only([image]).neck
    moved = build("retinanet", input_mean=[each + 0.1 for each in mean]).neck_only([image + 0.1]).neck
    scaled = build("retinanet", input_mean=[0.0] * 3, input_std=[2.0 * each for each in std])
    shifted = [(image - torch.tensor(mean)[:, None, None]) * 2]
    for stride, each in plain.items():
        torch.testing.assert_close(moved[stride], each, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(scaled.neck_only(shifted).neck[stride], each, atol=1e-4, rtol=1e-4)
