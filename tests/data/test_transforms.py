"""From a stored image to what a detector is trained on: boxes follow the pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision import tv_tensors

from distune.data.transforms import Sample, Transform, plain_transform, to_unit_range, training_transform


def sample(boxes: list[list[float]], *, height: int = 40, width: int = 80) -> Sample:
    """A black image with white boxes."""
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    for x1, y1, x2, y2 in boxes:
        image[:, round(y1) : round(y2), round(x1) : round(x2)] = 255
    boxes_n4 = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return {
        "image": tv_tensors.Image(image),
        "boxes": tv_tensors.BoundingBoxes(boxes_n4, format="XYXY", canvas_size=(height, width)),
        "labels": torch.arange(1, len(boxes) + 1),
        "box_index": torch.arange(10, 10 + len(boxes)),
        "image_index": torch.tensor(7),
    }


SIZES: dict[str, Any] = {"min_size_px": 40, "max_size_px": 80}
BOXES = [[10.0, 5.0, 30.0, 20.0], [60.0, 30.0, 80.0, 40.0]]


def test_an_image_of_the_right_size_only_becomes_float() -> None:
    before = sample(BOXES)
    after = training_transform(**SIZES)(sample(BOXES))
    assert torch.equal(after["image"], before["image"].float() / 255)
    assert after["boxes"].tolist() == BOXES
    for name, dtype in (("image", torch.float32), ("boxes", torch.float32), ("labels", torch.int64)):
        assert type(after[name]) is torch.Tensor
        assert after[name].dtype == dtype
    assert after["image_index"] == 7


@pytest.mark.parametrize("make", [training_transform, plain_transform])
@pytest.mark.parametrize(
    ("min_size_px", "max_size_px", "height", "width"),
    [(40, 80, 40, 80), (80, 800, 80, 160), (80, 100, 50, 100), (32, 32, 16, 32), (96, 96, 48, 96)],
)
def test_resizing_keeps_the_aspect_within_both_limits(
    make: Callable[..., Transform], min_size_px: int, max_size_px: int, height: int, width: int
) -> None:
    after = make(min_size_px=min_size_px, max_size_px=max_size_px)(sample(BOXES))
    assert after["image"].shape == (3, height, width)
    assert torch.allclose(after["boxes"], torch.tensor(BOXES) * (width / 80))


@pytest.mark.parametrize("flip", ["horizontal_flip", "vertical_flip"])
def test_boxes_follow_a_flip(flip: str) -> None:
    flips: dict[str, Any] = {flip: 1.0}
    after = training_transform(**SIZES, **flips)(sample(BOXES))
    for x1, y1, x2, y2 in after["boxes"].int().tolist():
        assert after["image"][:, y1:y2, x1:x2].min() == 1
    assert after["image"].sum() == 3 * (20 * 15 + 20 * 10)
    assert after["boxes"].tolist() != BOXES
    assert plain_transform(**SIZES)(sample(BOXES))["boxes"].tolist() == BOXES


def test_color_jitter_changes_colors_and_no_box() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        after = training_transform(**SIZES, color_jitter=0.5)(sample(BOXES))
    assert not torch.equal(after["image"], sample(BOXES)["image"].float() / 255)
    assert 0 <= float(after["image"].min()) <= float(after["image"].max()) <= 1
    assert after["boxes"].tolist() == BOXES


def test_a_box_below_a_pixel_is_removed_with_its_label_and_index() -> None:
    boxes = [[10.0, 5.0, 11.0, 25.0], *BOXES]
    after = plain_transform(min_size_px=32, max_size_px=40)(sample(boxes))
    assert after["labels"].tolist() == [2, 3]
    assert after["box_index"].tolist() == [11, 12]
    assert after["boxes"].shape == (2, 4)


def test_an_image_without_boxes_is_kept() -> None:
    after = training_transform(min_size_px=64, max_size_px=100, horizontal_flip=1.0)(sample([]))
    assert after["boxes"].shape == (0, 4)
    assert after["labels"].shape == after["box_index"].shape == (0,)


@given(height=st.integers(33, 200), width=st.integers(33, 200), min_size=st.integers(32, 150), extra=st.integers(0, 99))
def test_a_box_at_the_border_survives_any_resizing(height: int, width: int, min_size: int, extra: int) -> None:
    borders: list[list[Any]] = [[0, 0, width, height], [width / 3, height / 3, width, height]]
    made = sample(borders, height=height, width=width)
    after = training_transform(min_size_px=min_size, max_size_px=min_size + extra, horizontal_flip=1.0)(made)
    assert after["labels"].tolist() == [1, 2]
    size = torch.tensor([after["image"].shape[2], after["image"].shape[1]])
    assert (after["boxes"][:, 2:] <= size).all()
    assert (after["boxes"] >= 0).all()
    assert max(after["image"].shape) <= min_size + extra


def test_to_unit_range() -> None:
    image = to_unit_range(torch.tensor([0, 51, 255], dtype=torch.uint8))
    assert image.dtype == torch.float32
    assert image.tolist() == pytest.approx([0, 0.2, 1])
