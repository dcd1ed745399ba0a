"""Maps and boxes of models that see the images in different sizes."""

from __future__ import annotations

import torch
from torch import Tensor

from distune.detectors.taps import Frame, Instances, View
from distune.distillation.maps.alignment import align
from distune.distillation.maps.pooling import pool_both

SMALL = Frame((64, 96), ((64, 96), (48, 64)))
LARGE = Frame((128, 192), ((128, 192), (120, 160)))


def ramp(frame: Frame, stride: int) -> Tensor:
    """A map whose two channels say where in the image a cell lies, 0 to 1 in height and width; (2, 2, H, W)."""
    images = []
    for height, width in frame.image_sizes:
        rows = (torch.arange(frame.padded_size[0] // stride) + 0.5) * stride / height
        columns = (torch.arange(frame.padded_size[1] // stride) + 0.5) * stride / width
        images.append(torch.stack(torch.meshgrid(rows, columns, indexing="ij")))
    return torch.stack(images)


def test_maps_of_one_frame_are_left_as_they_are() -> None:
    maps = torch.randn(2, 3, 8, 12)
    assert align(maps, SMALL, SMALL, stride=8, size=(8, 12)) is maps


def test_each_cell_sees_the_same_part_of_the_image() -> None:
    for stride, theirs, ours in ((8, LARGE, SMALL), (8, SMALL, LARGE), (4, LARGE, SMALL)):
        expected = ramp(ours, stride)
        found = align(ramp(theirs, stride), theirs, ours, stride=stride, size=(expected.shape[2], expected.shape[3]))
        assert found.shape == expected.shape
        for image, (height, width) in enumerate(ours.image_sizes):
            # Away from the border, where there is nothing to interpolate with.
            rows, columns = slice(1, height // stride - 1), slice(1, width // stride - 1)
            torch.testing.assert_close(found[image, :, rows, columns], expected[image, :, rows, columns])


def test_boxes_follow_the_images() -> None:
    targets = [
        {"boxes": torch.tensor([[8.0, 16.0, 24.0, 32.0]]), "labels": torch.tensor([1])},
        {"boxes": torch.tensor([[8.0, 16.0, 24.0, 32.0], [0.0, 0.0, 64.0, 48.0]]), "labels": torch.tensor([1, 2])},
    ]
    instances = Instances.of(targets, SMALL)
    seen = instances.seen_in(LARGE)
    assert seen.boxes_N4.tolist() == [[16, 32, 48, 64], [20, 40, 60, 80], [0, 0, 160, 120]]
    assert seen.frame == LARGE
    torch.testing.assert_close(seen.seen_in(SMALL).boxes_N4, instances.boxes_N4)
    assert instances.seen_in(SMALL) is instances


def test_an_image_without_boxes_has_none_to_follow() -> None:
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    assert Instances.of([empty, empty], SMALL).seen_in(LARGE).boxes_N4.shape == (0, 4)


def test_a_box_has_the_same_feature_in_both_frames() -> None:
    targets = [
        {"boxes": torch.tensor([[16.0, 16.0, 48.0, 48.0]]), "labels": torch.tensor([1])},
        {"boxes": torch.tensor([[16.0, 16.0, 40.0, 32.0]]), "labels": torch.tensor([1])},
    ]
    pooled = pool_both(
        View({8: ramp(SMALL, 8)}, SMALL),
        View({8: ramp(LARGE, 8)}, LARGE),
        Instances.of(targets, SMALL),
        strides=(8,),
        pooling="roi_align",
        with_gradient=False,
    )
    torch.testing.assert_close(pooled.student_LND, pooled.teacher_LNE)


def test_levels_of_different_width_are_padded() -> None:
    targets = [{"boxes": torch.tensor([[0.0, 0.0, 32.0, 32.0]]), "labels": torch.tensor([1])}]
    frame = Frame((64, 64), ((64, 64),))
    view = View({8: torch.ones(1, 3, 8, 8), 16: torch.ones(1, 5, 4, 4)}, frame)
    pooled = pool_both(view, view, Instances.of(targets, frame), strides=(8, 16), pooling="crop", with_gradient=False)
    assert pooled.student_LND[:, 0].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
