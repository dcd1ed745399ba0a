"""The matching of FCOS cells with boxes."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from distune.config.detector import FcosSettings
from distune.detectors.fcos import match_cells
from support.families import build

CELLS = (12, 6, 3)
STRIDES = (8, 16, 32)


def anchors() -> tuple[Tensor, list[int]]:
    """The squares of all cells of a 96-pixel image on three levels."""
    levels = []
    for stride, side in zip(STRIDES, CELLS, strict=True):
        center = (torch.arange(side) * stride).float()
        y, x = torch.meshgrid(center, center, indexing="ij")
        half = stride / 2
        levels.append(torch.stack([x - half, y - half, x + half, y + half], dim=-1).reshape(-1, 4))
    return torch.cat(levels), [side * side for side in CELLS]


def literal(boxes: list[list[float]], radius: float) -> list[int]:
    """The rule, one cell and one box at a time."""
    matched = []
    for level, (stride, side) in enumerate(zip(STRIDES, CELLS, strict=True)):
        low = 0.0 if level == 0 else 4.0 * stride
        high = float("inf") if level == len(STRIDES) - 1 else 8.0 * stride
        for row in range(side):
            for column in range(side):
                x, y = column * stride, row * stride
                found, smallest = -1, float("inf")
                for index, (x1, y1, x2, y2) in enumerate(boxes):
                    is_near = max(abs(x - (x1 + x2) / 2), abs(y - (y1 + y2) / 2)) < radius * stride
                    sides = (x - x1, y - y1, x2 - x, y2 - y)
                    area = (x2 - x1) * (y2 - y1)
                    if is_near and min(sides) > 0 and low < max(sides) < high and area < smallest:
                        found, smallest = index, area
                matched.append(found)
    return matched


corner = st.integers(0, 80)
side = st.integers(2, 60)


@settings(max_examples=30)
@given(st.lists(st.tuples(corner, corner, side, side), min_size=1, max_size=5), st.sampled_from([1.5, 3.0]))
def test_the_rule_cell_by_cell(rows: list[tuple[int, int, int, int]], radius: float) -> None:
    boxes = [[float(x), float(y), float(x + width), float(y + height)] for x, y, width, height in rows]
    # torchvision ranks areas below 1e8 in float32: those that differ by less than eight are equal to it.
    areas = sorted((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in boxes)
    if any(later - earlier < 16 for earlier, later in itertools.pairwise(areas)):
        return
    squares, per_level = anchors()
    assert match_cells(torch.tensor(boxes), squares, per_level, radius=radius).tolist() == literal(boxes, radius)


def test_matches_equal_those_inside_torchvisions_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = build("fcos").model
    generator = torch.Generator().manual_seed(0)
    corners_62 = torch.rand(6, 2, generator=generator) * 60
    boxes_64 = torch.cat([corners_62, corners_62 + 3 + torch.rand(6, 2, generator=generator) * 50], dim=1)
    boxes_64 = torch.cat([boxes_64, boxes_64[:1] + 0.01])  # two of one area as torchvision sees it
    target = {"boxes": boxes_64, "labels": torch.arange(7) % 3 + 1}
    seen: list[list[Tensor]] = []

    def note(*arguments: Any) -> dict[str, Tensor]:
        seen.append(arguments[3])
        return {}

    monkeypatch.setattr(model.head, "compute_loss", note)
    images = [torch.rand(3, 96, 96, generator=generator)]
    model.train()
    model(images, [target])
    batch, resized = model.transform(images, [target])
    features = list(model.backbone(batch.tensors).values())
    squares = model.anchor_generator(batch, features)[0]
    per_level = [each.shape[-2] * each.shape[-1] for each in features]
    ours = match_cells(resized[0]["boxes"], squares, per_level, radius=model.center_sampling_radius)
    assert torch.equal(ours, seen[0][0])
    assert (ours >= 0).any()


def test_the_scale_moves_sizes_between_levels_and_keeps_the_cells_around_a_center() -> None:
    box_14 = torch.tensor([[20.0, 20.0, 76.0, 76.0]])  # its farthest side is 28 px or more from every cell inside
    squares, per_level = anchors()
    center_A2, half_A1 = squares[:, :2] / 2 + squares[:, 2:] / 2, (squares[:, 2:3] - squares[:, :1]) / 2
    counts = {}
    for scale in (1.0, 0.5):
        scaled = torch.cat([center_A2 - scale * half_A1, center_A2 + scale * half_A1], dim=1)
        matched = match_cells(box_14, scaled, per_level, radius=1.5 / scale)
        counts[scale] = [int((part >= 0).sum()) for part in torch.split(matched, per_level)]
    assert counts[1.0][0] > 0
    assert counts[1.0][1] == counts[1.0][2] == 0
    assert counts[0.5][0] < counts[1.0][0]
    assert counts[0.5][1] > 0


def test_channels_that_the_head_cannot_normalize_are_refused() -> None:
    for channels in (32, 80):
        with pytest.raises(ValueError, match="fpn_channels"):
            FcosSettings(family="fcos", backbone="resnet10", fpn_channels=channels)


@pytest.mark.parametrize("scale", [0.25, 0.5, 0.75, 1.0, 1.5, 2.0])
def test_levels_have_no_gaps(scale: float) -> None:
    model: Any = build("fcos", anchor_scale=scale).model
    sides = [float(each[0, 2] - each[0, 0]) for each in model.anchor_generator.cell_anchors]
    assert sides == [scale * stride for stride in (8, 16, 32, 64, 128)]


@pytest.mark.parametrize("scale", [0.1, 0.3, 0.35, 0.7, 1.1])
def test_a_scale_that_would_leave_gaps_between_levels_is_refused(scale: float) -> None:
    with pytest.raises(ValidationError, match=r"anchor_scale = .* must be a multiple of 0\.25.*torchvision rounds"):
        FcosSettings(backbone="resnet10", anchor_scale=scale)
