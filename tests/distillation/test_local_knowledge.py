"""The local knowledge loss, its masks and its levels, against cell-by-cell versions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from distune.detectors.taps import Frame, Instances, StudentTaps, TeacherTaps
from distune.distillation.adapters import build_adapters
from distune.distillation.filtering import InstanceWeights
from distune.distillation.maps.box_masks import level_of_boxes, weight_mask
from distune.distillation.maps.pooling import PooledFeatures
from distune.distillation.term import Step
from distune.distillation.terms.local_knowledge import LocalKnowledgeTerm, imitation_sums
from distune.errors import ConfigError

MakeTaps = Callable[..., tuple[StudentTaps, TeacherTaps]]
STRIDES = (8, 16, 32)


def literal_level(box: list[float], strides: tuple[int, ...], base: float) -> int:
    area = (box[2] - box[0]) * (box[3] - box[1])
    wanted = math.floor(math.log2(math.sqrt(area) / base)) if area > 0 else -99
    exponents = [round(math.log2(stride / 4)) for stride in strides]
    return exponents.index(max(exponents[0], min(exponents[-1], wanted)))


def literal_mask(
    instances: Instances, values: list[float], stride: int, height: int, width: int
) -> list[list[list[float]]]:
    mask = [[[-1.0] * width for _ in range(height)] for _ in instances.counts]
    for n, (x1, y1, x2, y2) in enumerate(instances.boxes_N4.tolist()):
        own_row = min(max(math.floor((y1 + y2) / 2 / stride), 0), height - 1)
        own_column = min(max(math.floor((x1 + x2) / 2 / stride), 0), width - 1)
        for row in range(height):
            for column in range(width):
                inside_y = y1 <= (row + 0.5) * stride < y2 or row == own_row
                inside_x = x1 <= (column + 0.5) * stride < x2 or column == own_column
                if inside_x and inside_y:
                    image = int(instances.image_of_N[n])
                    mask[image][row][column] = max(mask[image][row][column], values[n])
    return mask


def literal_sums(student: Tensor, teacher: Tensor, mask: list[list[list[float]]]) -> tuple[list[float], list[float]]:
    """The errors of foreground and background, and their counts."""
    totals, counts = [0.0, 0.0], [0.0, 0.0]
    for b, channels in enumerate(teacher.tolist()):
        for e, plane in enumerate(channels):
            for row, line in enumerate(plane):
                for column, t in enumerate(line):
                    value = mask[b][row][column]
                    squared = (float(student[b, e, row, column]) - t) ** 2
                    for kind, m in enumerate((max(0.0, value), 1.0 if value < 0 else 0.0)):
                        totals[kind] += m * squared
                        counts[kind] += m
    return totals, counts


def literal_loss(levels: list[tuple[list[float], list[float]]], average: str) -> float:
    """Foreground and four times the background."""
    if average == "cells":
        errors, counts = ([sum(each) for each in zip(*sums, strict=True)] for sums in zip(*levels, strict=True))
        levels = [(errors, counts)]
    losses = [
        factor * error / max(1.0, 2 * count)
        for errors, counts in levels
        for factor, error, count in zip((1, 4), errors, counts, strict=True)
    ]
    return sum(losses) / len(levels)


def step_of(student: StudentTaps, teacher: TeacherTaps, local_LN: Tensor) -> Step:
    weights = InstanceWeights(torch.zeros_like(local_LN), local_LN, local_LN, local_LN > -1)
    return Step(student, teacher, STRIDES, weights, None, no_features)


def no_features() -> PooledFeatures:
    raise AssertionError("the term pools no features")


@pytest.mark.parametrize("average", ["levels", "cells"])
@pytest.mark.parametrize("counts", [(4, 3), (0, 5), (1, 0), (0, 0)])
def test_equals_its_equation(make_taps: MakeTaps, counts: tuple[int, ...], average: Literal["levels", "cells"]) -> None:
    student, teacher = make_taps(student_channels=3, teacher_channels=3, boxes_per_image=counts)
    instances = student.instances
    local_LN = torch.rand(3, sum(counts), generator=torch.Generator().manual_seed(1))
    term = LocalKnowledgeTerm(
        nn.ModuleList(nn.Identity() for _ in STRIDES),
        average=average,
        background_ratio=4.0,
        base_size_px=5.0,
        robust=True,
    )
    sums = []
    levels = [literal_level(box, STRIDES, 5.0) for box in instances.boxes_N4.tolist()]
    for level, stride in enumerate(STRIDES):
        values = [float(local_LN[level, n]) if levels[n] == level else -1.0 for n in range(sum(counts))]
        maps = student.neck[stride].detach(), teacher.neck[stride]
        height, width = maps[0].shape[-2:]
        mask = literal_mask(instances, values, stride, height, width)
        sums.append(literal_sums(*maps, mask))
    expected = literal_loss(sums, average)
    assert float(term(step_of(student, teacher, local_LN)).detach()) == pytest.approx(expected, rel=1e-5)
    if sum(counts) == 7:
        assert len(set(levels)) > 1


@pytest.mark.parametrize("strides", [(8, 16, 32, 64, 128), (4, 8, 16), (16,), (8, 32)])
def test_boxes_belong_to_the_level_of_their_size(strides: tuple[int, ...]) -> None:
    sides = [0.0, 1.0, 55.9, 56.0, 111.9, 112.0, 223.0, 224.0, 450.0, 900.0, 5000.0]
    boxes_N4 = torch.tensor([[7.0, 3.0, 7.0 + 2 * side, 3.0 + side / 2] for side in sides])
    found = level_of_boxes(boxes_N4, strides, base_size_px=56.0).tolist()
    if strides == (8, 32):
        assert found == [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1]
    else:
        assert found == [literal_level(box, strides, 56.0) for box in boxes_N4.tolist()]


def test_where_boxes_overlap_the_larger_weight_stays_in_any_order() -> None:
    boxes = torch.tensor([[0.0, 0.0, 32.0, 32.0], [16.0, 16.0, 48.0, 32.0]])
    masks = []
    for order in ([0, 1], [1, 0]):
        targets = [{"boxes": boxes[order], "labels": torch.ones(2, dtype=torch.int64)}]
        values_N = torch.tensor([0.3, 0.8])[order]
        masks.append(weight_mask(values_N, Instances.of(targets, Frame((32, 48), ((32, 48),))), stride=8, size=(4, 6)))
    assert torch.equal(masks[0], masks[1])
    assert masks[0][0, 3].tolist() == pytest.approx([0.3, 0.3, 0.8, 0.8, 0.8, 0.8])
    assert masks[0][0, 0].tolist() == pytest.approx([0.3, 0.3, 0.3, 0.3, -1.0, -1.0])


def test_the_inside_of_a_filtered_box_is_neither_foreground_nor_background() -> None:
    teacher_BEHW = torch.zeros(1, 2, 4, 6)
    adapted_BEHW = torch.zeros(1, 2, 4, 6)
    adapted_BEHW[..., :2, :2] = 100.0
    mask_BHW = torch.full((1, 4, 6), -1.0)
    mask_BHW[:, :2, :2] = 0.0
    errors_2, counts_2 = imitation_sums(adapted_BEHW, teacher_BEHW, mask_BHW)
    assert errors_2.tolist() == [0.0, 0.0]
    assert counts_2.tolist() == [0.0, 2 * 2 * 20]


@pytest.mark.parametrize(("adapter", "kernel"), [("conv1x1", 1), ("conv3x3", 3)])
def test_adapters_draw_from_their_generator_alone(adapter: str, kernel: int) -> None:
    def build(seed: int) -> nn.ModuleList:
        return build_adapters(
            adapter,
            term="local_knowledge",
            student_channels=(3, 3),
            teacher_channels=(5, 5),
            generator=torch.Generator().manual_seed(seed),
        )

    before = torch.get_rng_state()
    first, again, other = build(1), build(1), build(2)
    assert torch.equal(torch.get_rng_state(), before)
    weights, weights_again, others = (
        [value for value in layers.parameters() if value.ndim == 4] for layers in (first, again, other)
    )
    assert [tuple(weight.shape) for weight in weights] == [(5, 3, kernel, kernel)] * 2
    assert all(torch.equal(x, y) for x, y in zip(weights, weights_again, strict=True))
    assert not torch.equal(weights[0], others[0])
    assert not torch.equal(weights[0], weights[1])
    assert first[0](torch.zeros(1, 3, 4, 6)).shape == (1, 5, 4, 6)


def test_identity_needs_equal_channels() -> None:
    with pytest.raises(ConfigError, match="student's neck has 3 and the teacher's 5; use conv1x1"):
        build_adapters(
            "identity",
            term="local_knowledge",
            student_channels=(3,),
            teacher_channels=(5,),
            generator=torch.Generator(),
        )
