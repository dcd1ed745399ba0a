"""FGD against its equations, number by number."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distune.config.distillation import DistillationSettings
from distune.detectors.taps import Frame, Instances, StudentTaps, TeacherTaps
from distune.distillation.filtering import InstanceWeights
from distune.distillation.maps.global_context import ContextRelation
from distune.distillation.maps.pooling import PooledFeatures
from distune.distillation.term import Step, TermContext
from distune.distillation.terms.fgd import attention, build_fgd, foreground_scale
from distune.distillation.terms.map_term import MapTerm

MakeTaps = Callable[..., tuple[StudentTaps, TeacherTaps]]
STRIDES = (8, 16, 32)
TEMPERATURE = 0.8
RATIOS = {"background_ratio": 0.4, "attention_ratio": 0.7, "relation_ratio": 1.3}
Plane = list[list[float]]


def softmax(values: list[float]) -> list[float]:
    powers = [math.exp(value - max(values)) for value in values]
    return [power / sum(powers) for power in powers]


def literal_attention(image: list[Plane], temperature: float) -> tuple[Plane, list[float]]:
    """Spatial and channel attention of one image, [channel][row][column]."""
    channels, height, width = len(image), len(image[0]), len(image[0][0])
    cells = [
        sum(abs(image[e][y][x]) for e in range(channels)) / channels / temperature
        for y in range(height)
        for x in range(width)
    ]
    spatial = [height * width * value for value in softmax(cells)]
    means = [sum(abs(v) for line in plane for v in line) / (height * width) / temperature for plane in image]
    return (
        [spatial[y * width : (y + 1) * width] for y in range(height)],
        [channels * value for value in softmax(means)],
    )


def literal_cells(low: float, high: float, stride: int, num_cells: int) -> set[int]:
    nearest = min(max(math.floor((low + high) / 2 / stride), 0), num_cells - 1)
    return {cell for cell in range(num_cells) if low <= (cell + 0.5) * stride < high} | {nearest}


def literal_scale(
    instances: Instances, weights: list[float], image: int, stride: int, height: int, width: int
) -> list[list[float | None]]:
    """``w / (h w)`` of the smallest box of each cell, None where there is no box."""
    scale: list[list[float | None]] = [[None] * width for _ in range(height)]
    smallest = [[math.inf] * width for _ in range(height)]
    for n, (x1, y1, x2, y2) in enumerate(instances.boxes_N4.tolist()):
        if int(instances.image_of_N[n]) != image:
            continue
        rows, columns = literal_cells(y1, y2, stride, height), literal_cells(x1, x2, stride, width)
        for y in rows:
            for x in columns:
                if (x2 - x1) * (y2 - y1) < smallest[y][x]:
                    smallest[y][x] = (x2 - x1) * (y2 - y1)
                    scale[y][x] = weights[n] / (len(rows) * len(columns))
    return scale


def literal_relation(image: list[Plane], block: ContextRelation) -> list[Plane]:
    channels, height, width = len(image), len(image[0]), len(image[0][0])
    key, squeeze, expand = block.key.tolist(), block.squeeze.tolist(), block.expand.tolist()
    cells = [(y, x) for y in range(height) for x in range(width)]
    weights = softmax([sum(key[e] * image[e][y][x] for e in range(channels)) for y, x in cells])
    context = [sum(s * image[e][y][x] for s, (y, x) in zip(weights, cells, strict=True)) for e in range(channels)]
    narrow = [
        sum(row[e] * context[e] for e in range(channels)) + bias
        for row, bias in zip(squeeze, block.squeeze_bias.tolist(), strict=True)
    ]
    mean = sum(narrow) / len(narrow)
    variance = sum((value - mean) ** 2 for value in narrow) / len(narrow)
    normed = [
        max(0.0, (value - mean) / math.sqrt(variance + block.norm.eps) * gain + bias)
        for value, gain, bias in zip(narrow, block.norm.weight.tolist(), block.norm.bias.tolist(), strict=True)
    ]
    added = [
        sum(row[k] * normed[k] for k in range(len(normed))) + bias
        for row, bias in zip(expand, block.expand_bias.tolist(), strict=True)
    ]
    return [[[value + added[e] for value in line] for line in image[e]] for e in range(channels)]


def literal_loss(term: MapTerm, level: int, step: Step, weights: list[float], cell_weights: Tensor) -> float:
    """One level of a batch, with scalars; the adapter is the identity."""
    stride = STRIDES[level]
    students, teachers = step.student.neck[stride].tolist(), step.teacher.neck[stride].tolist()
    batch, channels, height, width = step.teacher.neck[stride].shape
    student_block, teacher_block = (
        term.get_submodule(f"{name}.{level}") for name in ("relations", "teacher_relations")
    )
    assert isinstance(student_block, ContextRelation)
    assert isinstance(teacher_block, ContextRelation)
    foreground = background = spatial_error = channel_error = relation = 0.0
    for b in range(batch):
        student, teacher = students[b], teachers[b]
        scale = literal_scale(step.instances, weights, b, stride, height, width)
        student_spatial, student_channel = literal_attention(student, TEMPERATURE)
        spatial, channel = literal_attention(teacher, TEMPERATURE)
        student_related, related = literal_relation(student, student_block), literal_relation(teacher, teacher_block)
        num_background = max(1, sum(value is None for line in scale for value in line))
        for y in range(height):
            for x in range(width):
                weight = float(cell_weights[b, y, x])
                error = sum(channel[e] * (student[e][y][x] - teacher[e][y][x]) ** 2 / channels for e in range(channels))
                of_box = scale[y][x]
                if of_box is None:
                    background += spatial[y][x] * error / num_background / batch
                else:
                    foreground += of_box * spatial[y][x] * error / max(1, len(weights))
                spatial_error += weight * abs(student_spatial[y][x] - spatial[y][x])
                relation += weight * sum((student_related[e][y][x] - related[e][y][x]) ** 2 for e in range(channels))
        channel_error += sum(abs(s - t) for s, t in zip(student_channel, channel, strict=True))
    cells = batch * height * width
    return (
        foreground
        + RATIOS["background_ratio"] * background
        + RATIOS["attention_ratio"] * (spatial_error / cells + channel_error / (batch * channels))
        + RATIOS["relation_ratio"] * relation / (cells * channels)
    )


def no_features() -> PooledFeatures:
    raise AssertionError("the term pools no features")


def step_of(student: StudentTaps, teacher: TeacherTaps, local_LN: Tensor) -> Step:
    weights = InstanceWeights(torch.zeros_like(local_LN), local_LN, local_LN, local_LN > -1)
    return Step(student, teacher, STRIDES, weights, None, no_features)


def build(
    settings: dict[str, Any] | None = None, *, seed: int = 0, channels: int = 4, trained: bool = False
) -> MapTerm:
    """``trained`` fills all weights of the relations with random numbers."""
    context = TermContext(
        strides=STRIDES,
        student_channels=(channels,) * 3,
        teacher_channels=(channels,) * 3,
        score_kind="sigmoid",
        base_size_px=56.0,
        generator=torch.Generator().manual_seed(seed),
    )
    term = build_fgd(DistillationSettings.model_validate({"fgd": {"adapter": "identity", **(settings or {})}}), context)
    if trained:
        for values in term.parameters():
            nn.init.normal_(values, generator=context.generator)
    return term


def relations_of(term: MapTerm) -> list[nn.Module]:
    """Return the relations of the student, then those of the teacher."""
    return [*term.get_submodule("relations").children(), *term.get_submodule("teacher_relations").children()]


@pytest.mark.parametrize("robust", [True, False])
@pytest.mark.parametrize("counts", [(4, 3), (0, 5), (1, 0), (0, 0)])
def test_equals_its_equations(make_taps: MakeTaps, counts: tuple[int, ...], robust: bool) -> None:
    student, teacher = make_taps(student_channels=4, teacher_channels=4, boxes_per_image=counts, image_size=(64, 64))
    local_LN = torch.rand(3, sum(counts), generator=torch.Generator().manual_seed(1))
    step = step_of(student, teacher, local_LN)
    term = build({**RATIOS, "robust": robust, "temperature": TEMPERATURE}, trained=True)
    weights_LN = local_LN if robust else torch.ones_like(local_LN)
    expected = [
        literal_loss(term, level, step, weights_LN[level].tolist(), step.cell_weights(level, robust=robust))
        for level in range(3)
    ]
    assert float(term(step).detach()) == pytest.approx(sum(expected) / 3, rel=1e-5)


@pytest.mark.parametrize("name", ["background_ratio", "attention_ratio", "relation_ratio"])
def test_each_part_adds_to_the_foreground(make_taps: MakeTaps, name: str) -> None:
    step = step_of(*make_taps(student_channels=4, teacher_channels=4), torch.ones(3, 7))
    zeros = dict.fromkeys(RATIOS, 0.0)
    alone, with_part, twice = (
        float(build({**zeros, name: ratio}, trained=True)(step).detach()) for ratio in (0.0, 1.0, 2.0)
    )
    assert 0 < alone < with_part
    assert twice - with_part == pytest.approx(with_part - alone, rel=1e-4)


def test_attention_has_mean_one_and_a_low_temperature_selects_a_single_cell() -> None:
    map_BEHW = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    for temperature in (0.1, 0.5, 5.0):
        spatial_BHW, channel_BE = attention(map_BEHW, temperature=temperature)
        assert spatial_BHW.mean(dim=(1, 2)).tolist() == pytest.approx([1, 1])
        assert channel_BE.mean(dim=1).tolist() == pytest.approx([1, 1])
    spatial_BHW, _ = attention(map_BEHW, temperature=1e-3)
    assert spatial_BHW.flatten(1).amax(dim=1).tolist() == pytest.approx([20, 20])
    where = map_BEHW.abs().mean(dim=1).flatten(1).argmax(dim=1)
    assert torch.equal(spatial_BHW.flatten(1).argmax(dim=1), where)


def instances_of(boxes: list[list[float]]) -> Instances:
    targets = [{"boxes": torch.tensor(boxes), "labels": torch.ones(len(boxes), dtype=torch.int64)}]
    return Instances.of(targets, Frame((32, 48), ((32, 48),)))


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_of_several_boxes_the_smallest_has_the_cell_in_any_order(order: list[int]) -> None:
    boxes = [[0.0, 0.0, 48.0, 32.0], [0.0, 0.0, 16.0, 16.0], [8.0, 8.0, 32.0, 24.0]]
    weights = [0.24, 0.8, 0.6]
    instances = instances_of([boxes[index] for index in order])
    scale_BHW = foreground_scale(torch.tensor(weights)[order], instances, stride=8, size=(4, 6))
    large, small, middle = 0.24 / 24, 0.8 / 4, 0.6 / 6
    assert torch.allclose(
        scale_BHW[0],
        torch.tensor(
            [
                [small, small, large, large, large, large],
                [small, small, middle, middle, large, large],
                [large, middle, middle, middle, large, large],
                [large, large, large, large, large, large],
            ]
        ),
    )


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_of_equal_boxes_the_one_with_the_larger_weight_has_the_cells(order: list[int]) -> None:
    instances = instances_of([[0.0, 0.0, 16.0, 16.0]] * 2)
    scale_BHW = foreground_scale(torch.tensor([0.2, 0.8])[order], instances, stride=8, size=(4, 6))
    assert scale_BHW[0, 0].tolist() == pytest.approx([0.2, 0.2, -1, -1, -1, -1])


def test_a_box_of_weight_zero_is_neither_foreground_nor_background(make_taps: MakeTaps) -> None:
    student, teacher = make_taps(student_channels=4, teacher_channels=4, boxes_per_image=(1,), image_size=(64, 64))
    student.instances.boxes_N4.copy_(torch.tensor([[0.0, 0.0, 64.0, 64.0]]))
    step = step_of(student, teacher, torch.zeros(3, 1))
    focal = {"attention_ratio": 0.0, "relation_ratio": 0.0}
    assert float(build(focal)(step).detach()) == 0
    assert float(build({**focal, "robust": False})(step).detach()) > 0


def test_relations_start_as_the_identity_and_each_model_has_its_own() -> None:
    before = torch.get_rng_state()
    term = build(seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    map_BEHW = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    blocks = relations_of(term)
    assert all(torch.equal(block(map_BEHW), map_BEHW) for block in blocks)
    assert len({values.data_ptr() for block in blocks for values in block.parameters()}) == 6 * 7
    again, other = build(seed=1), build(seed=2)
    assert all(torch.equal(x, y) for x, y in zip(term.parameters(), again.parameters(), strict=True))
    assert not all(torch.equal(x, y) for x, y in zip(term.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("counts", [(1,), (0, 0), (4, 3)])
def test_accepts_bfloat16_maps_and_sends_finite_gradients_to_the_student_and_itself(
    make_taps: MakeTaps, counts: tuple[int, ...]
) -> None:
    student, teacher = make_taps(student_channels=8, boxes_per_image=counts, dtype=torch.bfloat16)
    for teacher_map in teacher.neck.values():
        teacher_map.requires_grad_()
    term = build(channels=8, trained=True)
    loss = term(step_of(student, teacher, torch.ones(3, sum(counts))))
    torch.autograd.backward(loss)
    assert loss.dtype == torch.float32
    assert float(loss.detach()) > 0
    learners = [*student.neck.values(), *term.parameters()]
    assert all(each.grad is not None and bool(each.grad.isfinite().all()) for each in learners)
    assert all(
        each.grad is not None and bool(each.grad.any())
        for name, each in term.named_parameters()
        if "expand_bias" in name
    )
    assert all(each.grad is None for each in teacher.neck.values())
