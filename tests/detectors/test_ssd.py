"""SSD and SSDlite: sizes of maps and default boxes, and torchvision's weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.models.detection import ssd300_vgg16, ssdlite320_mobilenet_v3_large

from distune.config.detector import DetectorSettings, SsdliteSettings, SsdSettings
from distune.detectors.ssd import map_sides, scales
from distune.detectors.taps import Detector
from distune.detectors.zoo import build_detector
from distune.errors import WeightsError
from support.families import build

COCO = tuple(f"class {number}" for number in range(90))


def detector(settings: DetectorSettings, classes: tuple[str, ...] = COCO) -> Detector:
    return build_detector(settings, classes=classes, min_size_px=64, max_size_px=64, seed=0)


def shapes(model: torch.nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in model.state_dict().items()}


@pytest.mark.parametrize(
    ("size_px", "sides"), [(300, [38, 19, 10, 5, 3, 1]), (256, [32, 16, 8, 4, 2]), (64, [8, 4, 2, 1])]
)
def test_sides_of_maps(size_px: int, sides: list[int]) -> None:
    assert map_sides(size_px) == sides


def test_the_maps_have_these_sides() -> None:
    for size_px in (64, 100, 130):
        model: Any = build("ssd", input_size_px=size_px).model
        with torch.no_grad():
            maps = model.backbone(torch.zeros(1, 3, size_px, size_px))
        assert [each.shape[-1] for each in maps.values()] == map_sides(size_px)


def test_scales_of_default_boxes_are_those_of_ssd300_and_cover_the_same_range_with_fewer_maps() -> None:
    assert scales(6) == [0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05]
    assert scales(4) == [0.07, 0.15, 0.45, 0.75, 1.05]


def test_default_boxes_of_300_pixels_are_those_of_torchvision() -> None:
    with torch.device("meta"):
        theirs: Any = ssd300_vgg16(weights=None, weights_backbone=None)
    ours: Any = build("ssd", input_size_px=300).model
    maps = [torch.zeros(1, 1, side, side) for side in map_sides(300)]
    images = torch.zeros(1, 3, 300, 300)
    for each in (theirs, ours):
        each.anchor_generator._wh_pairs = each.anchor_generator._generate_wh_pairs(len(maps))  # meta has no values
    found = [
        each.anchor_generator._grid_default_boxes([m.shape[-2:] for m in maps], images.shape[-2:])
        for each in (theirs, ours)
    ]
    assert torch.equal(*found)


@pytest.mark.parametrize("family", ["ssd", "ssdlite"])
def test_a_cell_of_the_neck_is_centered_on_its_stride_grid(family: str) -> None:
    model: Any = build(family, input_size_px=128).model
    model.eval()
    image = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0), requires_grad=True)
    maps = list(model.backbone(image).values())[:4]
    pixels_S = torch.arange(128) + 0.5
    checked = 0
    for each in maps:
        cells = each.shape[-1]
        stride = 128 / cells
        if cells < 4:
            continue
        for cell in (cells // 2 - 1, cells // 2):
            (gradient,) = torch.autograd.grad(each[0, :, cell, cell].sum(), image, retain_graph=True)
            weight_S = gradient[0].abs().sum(dim=(0, 1))
            center_px = float((weight_S * pixels_S).sum() / weight_S.sum())
            assert abs(center_px - (cell + 0.5) * stride) < 0.75 * stride, (stride, cell)
            checked += 1
    assert checked >= 4


def test_torchvision_weights_have_the_same_names_and_shapes() -> None:
    with torch.device("meta"):
        theirs = shapes(ssd300_vgg16(weights=None, weights_backbone=None))
    assert shapes(detector(SsdSettings(family="ssd")).model) == theirs


def test_ssdlite_with_torchvision_weights_equals_torchvision(tmp_path: Path) -> None:
    torch.manual_seed(1)
    theirs = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)
    torch.save(theirs.state_dict(), tmp_path / "coco.pt")
    ours = detector(SsdliteSettings(family="ssdlite", weights=str(tmp_path / "coco.pt"))).model
    image = torch.rand(3, 50, 70)
    with torch.no_grad():
        expected: dict[str, Tensor] = theirs.eval()([image])[0]
        found: dict[str, Tensor] = ours.eval()([image])[0]
    assert len(found["boxes"]) > 10
    assert expected.keys() == found.keys()
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values)


def test_training_on_other_classes_replaces_only_the_class_scores(tmp_path: Path) -> None:
    small = SsdliteSettings(family="ssdlite", backbone="mobilenet_v3_small", input_size_px=64)
    source = detector(small, ("cat", "dog")).model.state_dict()
    torch.save({"model": source, "classes": ["cat", "dog"]}, tmp_path / "two.pt")
    loaded = detector(small.model_copy(update={"weights": str(tmp_path / "two.pt")}), ("owl",)).model.state_dict()
    fresh = detector(small, ("owl",)).model.state_dict()
    for name, value in loaded.items():
        is_score = name.startswith("head.classification_head") and ".1." in name.removeprefix(
            "head.classification_head."
        )
        kept = source if not is_score or value.shape == source[name].shape else fresh
        assert torch.equal(value, kept[name]), name


def test_weights_of_ssd300_do_not_fit_a_smaller_input(tmp_path: Path) -> None:
    torch.save(build("ssd", input_size_px=268).model.state_dict(), tmp_path / "large.pt")
    with pytest.raises(WeightsError, match=r"unknown: backbone\.extra\.3"):
        build("ssd", weights=str(tmp_path / "large.pt"))
