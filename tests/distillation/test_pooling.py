"""Mean features of instances, against sums written out cell by cell."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from distune.detectors.taps import Frame, Instances, StudentTaps, TeacherTaps
from distune.distillation.maps.box_masks import centered_cells, counted_levels, cropped_cells
from distune.distillation.maps.pooling import Pooling, l2_normalize, pool_both, pool_instances

MakeTaps = Callable[..., tuple[StudentTaps, TeacherTaps]]
POOLINGS: list[Pooling] = ["roi_align", "crop"]


def instances_of(boxes: list[list[list[float]]], size: tuple[int, int] = (32, 48)) -> Instances:
    targets = [
        {"boxes": torch.tensor(image).reshape(-1, 4), "labels": torch.ones(len(image), dtype=torch.int64)}
        for image in boxes
    ]
    return Instances.of(targets, Frame(size, (size,) * len(boxes)))


def literal_crop(map_DHW: Tensor, box: list[float], stride: int) -> Tensor:
    _, height, width = map_DHW.shape
    x1, y1, x2, y2 = (math.floor(side / stride) for side in box)
    x1, y1 = min(max(x1, 0), width - 1), min(max(y1, 0), height - 1)
    cells = [
        map_DHW[:, row, column]
        for row in range(y1, max(y2, y1 + 1))
        for column in range(x1, max(x2, x1 + 1))
        if row < height and column < width
    ]
    return torch.stack(cells).mean(dim=0)


def test_crop_is_the_mean_over_whole_cells() -> None:
    map_BDHW = torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    boxes = [
        [[0.0, 0.0, 48.0, 32.0], [9.0, 9.0, 25.0, 31.0], [3.0, 3.0, 5.0, 4.0]],
        [[40.0, 24.0, 48.0, 32.0], [47.9, 31.9, 48.0, 32.0]],
    ]
    expected = [literal_crop(map_BDHW[i], box, 8) for i, image in enumerate(boxes) for box in image]
    pooled_ND = pool_instances(map_BDHW, instances_of(boxes), stride=8, pooling="crop")
    torch.testing.assert_close(pooled_ND, torch.stack(expected))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_box_of_whole_cells_has_their_mean(pooling: Pooling) -> None:
    map_BDHW = torch.randn(1, 2, 4, 6, generator=torch.Generator().manual_seed(0))
    pooled_ND = pool_instances(map_BDHW, instances_of([[[8.0, 16.0, 32.0, 32.0]]]), stride=8, pooling=pooling)
    torch.testing.assert_close(pooled_ND[0], map_BDHW[0, :, 2:4, 1:4].mean(dim=(1, 2)))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_boxes_are_pooled_on_their_own_image(pooling: Pooling) -> None:
    map_BDHW = torch.stack([torch.full((1, 4, 6), float(image)) for image in range(4)])
    boxes = [[[0.0, 0.0, 20.0, 20.0]], [], [[4.0, 4.0, 30.0, 30.0], [1.0, 1.0, 2.0, 2.0]], [[0.0, 0.0, 9.0, 9.0]]]
    pooled_ND = pool_instances(map_BDHW, instances_of(boxes), stride=8, pooling=pooling)
    assert pooled_ND.squeeze(1).tolist() == [0.0, 2.0, 2.0, 3.0]


@pytest.mark.parametrize("pooling", POOLINGS)
def test_no_boxes_and_half_precision(pooling: Pooling, make_taps: MakeTaps) -> None:
    for counts in ((0, 0), (0, 2)):
        student, teacher = make_taps(boxes_per_image=counts, dtype=torch.bfloat16)
        features = pool_both(
            student.view,
            teacher.view,
            student.instances,
            strides=(8, 16, 32),
            pooling=pooling,
            with_gradient=True,
        )
        assert features.student_LND.shape == (3, sum(counts), 6)
        assert features.teacher_LNE.shape == (3, sum(counts), 8)
        assert features.student_LND.dtype == torch.float32
        assert features.student_LND.requires_grad
        assert not features.teacher_LNE.requires_grad


def test_without_gradient_there_is_none(make_taps: MakeTaps) -> None:
    student, teacher = make_taps()
    features = pool_both(
        student.view, teacher.view, student.instances, strides=(8,), pooling="crop", with_gradient=False
    )
    assert not features.student_LND.requires_grad


def test_unit_features_have_length_one_or_are_zero_without_gradient() -> None:
    raw_ND = torch.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    unit_ND = l2_normalize(raw_ND)
    assert unit_ND.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0.0, 0.0]]
    torch.autograd.backward(unit_ND.sum())
    assert raw_ND.grad is not None
    assert raw_ND.grad.isfinite().all()
    assert raw_ND.grad[1].tolist() == [0.0, 0.0]


def test_every_box_covers_a_cell_wherever_it_is() -> None:
    low_N = torch.tensor([0.0, 3.9, 12.0, 31.99, 40.0, -20.0])
    high_N = torch.tensor([0.0, 4.1, 13.0, 32.0, 45.0, -10.0])
    for cover in (cropped_cells, centered_cells):
        assert cover(low_N, high_N, stride=8, num_cells=4).any(dim=1).all()


def test_a_cell_is_inside_when_its_center_is() -> None:
    cover_NS = centered_cells(torch.tensor([4.0, 4.1]), torch.tensor([20.0, 20.1]), stride=8, num_cells=4)
    assert cover_NS.tolist() == [[True, True, False, False], [False, True, True, False]]


def test_a_box_counts_on_the_levels_where_it_is_large_and_always_on_the_finest() -> None:
    boxes_N4 = torch.tensor(
        [[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 16.0, 16.0], [8.0, 0.0, 40.0, 32.0], [0.0, 0.0, 8.0, 32.0]]
    )
    found_LN = counted_levels(boxes_N4, (8, 16, 32), min_cells=1.0)
    assert found_LN.tolist() == [[True] * 4, [False, True, True, True], [False, False, True, False]]
    found_LN = counted_levels(boxes_N4, (8, 16, 32), min_cells=2.0)
    assert found_LN.tolist() == [[True] * 4, [False, False, True, False], [False] * 4]
    assert counted_levels(boxes_N4, (8, 16, 32), min_cells=0.0).all()
    assert counted_levels(boxes_N4[:0], (8, 16), min_cells=1.0).shape == (2, 0)
