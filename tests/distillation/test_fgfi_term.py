"""The FGFI loss and its near cells, against cell-by-cell and anchor-by-anchor versions."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from distune.detectors.taps import Frame, Instances, StudentTaps, TeacherTaps
from distune.distillation.filtering import InstanceWeights
from distune.distillation.maps.pooling import PooledFeatures
from distune.distillation.term import Step
from distune.distillation.terms.fgfi import level_loss, near_cells, near_imitation, nearest_anchor_iou
from distune.distillation.terms.map_term import MapTerm

MakeTaps = Callable[..., tuple[StudentTaps, TeacherTaps]]
STRIDES = (8, 16, 32)


def literal_iou(box: list[float], other: list[float]) -> float:
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (box, other)]
    return shared / (sum(areas) - shared)


def literal_anchors(row: int, column: int, stride: int, side: float) -> list[list[float]]:
    x, y = (column + 0.5) * stride, (row + 0.5) * stride
    anchors = []
    for octave in range(3):
        for ratio in (0.5, 1.0, 2.0):
            area = (side * 2 ** (octave / 3)) ** 2
            height = (area * ratio) ** 0.5
            width = area / height
            anchors.append([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
    return anchors


def literal_near_cells(
    instances: Instances, weights: list[float], stride: int, size: tuple[int, int], side: float, threshold: float
) -> list[list[list[float]]]:
    near = [[[0.0] * size[1] for _ in range(size[0])] for _ in instances.counts]
    cells = [(row, column) for row in range(size[0]) for column in range(size[1])]
    for n, box in enumerate(instances.boxes_N4.tolist()):
        ious = {cell: [literal_iou(box, anchor) for anchor in literal_anchors(*cell, stride, side)] for cell in cells}
        largest = max(max(values) for values in ious.values())
        image = near[int(instances.image_of_N[n])]
        for (row, column), values in ious.items():
            if any(value > threshold * largest for value in values):
                image[row][column] = max(image[row][column], weights[n])
    return near


def literal_loss(student: Tensor, teacher: Tensor, near: list[list[list[float]]]) -> float:
    total, count = 0.0, 0.0
    for b, rows in enumerate(near):
        for row, line in enumerate(rows):
            for column, weight in enumerate(line):
                squares = (student[b, :, row, column] - teacher[b, :, row, column]).square().tolist()
                total += weight * sum(squares) / len(squares)
                count += weight
    return total / max(1.0, 2 * count)


def step_of(student: StudentTaps, teacher: TeacherTaps, local_LN: Tensor) -> Step:
    weights = InstanceWeights(torch.zeros_like(local_LN), local_LN, local_LN, local_LN > -1)
    return Step(student, teacher, STRIDES, weights, None, no_features)


def no_features() -> PooledFeatures:
    raise AssertionError("the term pools no features")


def term_of(*, threshold: float = 0.5, anchor_strides: float = 2.0) -> MapTerm:
    loss = functools.partial(level_loss, threshold=threshold, anchor_strides=anchor_strides, robust=True)
    return MapTerm(loss, adapters=nn.ModuleList(nn.Identity() for _ in STRIDES))


def one_image(*boxes: list[float], size: tuple[int, int] = (64, 96)) -> Instances:
    targets = [{"boxes": torch.tensor(boxes).reshape(-1, 4), "labels": torch.ones(len(boxes), dtype=torch.int64)}]
    return Instances.of(targets, Frame(size, (size,)))


@pytest.mark.parametrize("counts", [(3, 2), (0, 3), (1, 0), (0, 0)])
@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.8])
def test_equals_its_equation(make_taps: MakeTaps, counts: tuple[int, ...], threshold: float) -> None:
    student, teacher = make_taps(student_channels=3, teacher_channels=3, boxes_per_image=counts)
    local_LN = torch.rand(3, sum(counts), generator=torch.Generator().manual_seed(1))
    expected = 0.0
    for level, stride in enumerate(STRIDES):
        ours, theirs = student.neck[stride].detach(), teacher.neck[stride]
        size = (ours.shape[-2], ours.shape[-1])
        near = literal_near_cells(student.instances, local_LN[level].tolist(), stride, size, 2.0 * stride, threshold)
        expected += literal_loss(ours, theirs, near) / 3
    found = term_of(threshold=threshold)(step_of(student, teacher, local_LN))
    assert float(found.detach()) == pytest.approx(expected, rel=1e-5)
    assert (expected > 0) == (sum(counts) > 0)


def test_anchors_are_torchvisions_moved_to_the_centers_of_cells(make_taps: MakeTaps) -> None:
    boxes_N4 = make_taps()[0].instances.boxes_N4
    generator = AnchorGenerator((tuple(32 * 2 ** (octave / 3) for octave in range(3)),), ((0.5, 1.0, 2.0),))
    images = ImageList(torch.zeros(1, 3, 64, 96), [(64, 96)])
    anchors_A4 = generator(images, [torch.zeros(1, 1, 8, 12)])[0] + 4
    expected_NHW = box_iou(boxes_N4, anchors_A4).reshape(-1, 8, 12, 9).amax(dim=3)
    found_NHW = nearest_anchor_iou(boxes_N4, stride=8, size=(8, 12), side_px=32.0)
    assert torch.allclose(found_NHW, expected_NHW, atol=0.03)  # torchvision rounds its anchors to whole pixels


def test_a_box_like_an_anchor_has_its_cell_at_its_center() -> None:
    instances = one_image([36.0, 20.0, 52.0, 36.0])  # 16 x 16 about the center of row 3, column 5 of stride 8
    iou_NHW = nearest_anchor_iou(instances.boxes_N4, stride=8, size=(8, 12), side_px=16.0)
    assert float(iou_NHW[0, 3, 5]) == pytest.approx(1)
    near = near_cells(torch.ones(1), instances, stride=8, size=(8, 12), side_px=16.0, threshold=0.999)
    assert near.nonzero().tolist() == [[0, 3, 5]]


def test_a_larger_threshold_means_fewer_cells() -> None:
    instances = one_image([10.0, 10.0, 60.0, 50.0])
    masks = [
        near_cells(torch.ones(1), instances, stride=8, size=(8, 12), side_px=32.0, threshold=threshold)
        for threshold in (0.0, 0.5, 0.9)
    ]
    assert masks[0].sum() > masks[1].sum() > masks[2].sum() > 0
    assert bool((masks[1] >= masks[2]).all())


def test_a_box_of_weight_0_has_no_region_and_the_larger_weight_stays_in_any_order() -> None:
    boxes = [[0.0, 0.0, 32.0, 32.0], [16.0, 0.0, 48.0, 32.0]]

    def cells(order: list[int], weights: list[float]) -> Tensor:
        chosen = one_image(*[boxes[index] for index in order])
        values_N = torch.tensor([weights[index] for index in order])
        return near_cells(values_N, chosen, stride=8, size=(8, 12), side_px=32.0, threshold=0.5)

    both = cells([0, 1], [0.3, 0.8])
    assert torch.equal(both, cells([1, 0], [0.3, 0.8]))
    assert torch.equal(both, torch.maximum(cells([0], [0.3, 0.8]), cells([1], [0.3, 0.8])))
    assert torch.equal(cells([0, 1], [0.0, 0.8]), cells([1], [0.0, 0.8]))


def test_boxes_without_area_or_far_away_have_no_region() -> None:
    instances = one_image([20.0, 20.0, 20.0, 40.0], [9000.0, 9000.0, 9010.0, 9010.0])
    near = near_cells(torch.ones(2), instances, stride=8, size=(8, 12), side_px=16.0, threshold=0.0)
    assert near.isfinite().all()
    assert float(near.sum()) == 0


def test_only_near_cells_of_the_student_get_gradient(make_taps: MakeTaps) -> None:
    student, teacher = make_taps(student_channels=3, teacher_channels=3, boxes_per_image=(1, 0))
    weights_BHW = near_cells(
        torch.ones(1), student.instances, stride=8, size=(8, 12), side_px=16.0, threshold=0.5
    ).requires_grad_()
    teacher.neck[8].requires_grad_()
    torch.autograd.backward(near_imitation(student.neck[8], teacher.neck[8], weights_BHW))
    gradient = student.neck[8].grad
    assert gradient is not None
    assert torch.equal(gradient.abs().sum(dim=1) > 0, weights_BHW > 0)
    assert teacher.neck[8].grad is None
    assert weights_BHW.grad is None
