"""The mimic losses against their equations."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distune.config.distillation import DistillationSettings
from distune.detectors.taps import StudentTaps, TeacherTaps
from distune.distillation.filtering import InstanceWeights
from distune.distillation.maps.pooling import Pooling, pool_both
from distune.distillation.term import Step, TermContext
from distune.distillation.terms.map_term import MapTerm
from distune.distillation.terms.mimic import (
    box_feature_loss,
    build_mimic,
    instance_imitation,
    map_imitation,
    whole_map_loss,
)
from distune.errors import ConfigError

MakeTaps = Callable[..., tuple[StudentTaps, TeacherTaps]]
STRIDES = (8, 16, 32)


def step_of(student: StudentTaps, teacher: TeacherTaps, *, pooling: Pooling = "roi_align") -> Step:
    instances = student.instances
    ones = InstanceWeights.ones(3, sum(instances.counts), torch.device("cpu"))

    def features() -> Any:
        return pool_both(student.view, teacher.view, instances, strides=STRIDES, pooling=pooling, with_gradient=True)

    return Step(student, teacher, STRIDES, ones, None, features)


def box_term(pooling: Pooling) -> MapTerm:
    loss = functools.partial(box_feature_loss, pooling=pooling, robust=True)
    return MapTerm(loss, adapters=nn.ModuleList(nn.Identity() for _ in STRIDES))


def build(values: dict[str, Any], *, channels: tuple[int, ...] = (6, 6, 6), **others: Any) -> MapTerm:
    context = TermContext(
        strides=STRIDES,
        student_channels=channels,
        teacher_channels=(8, 8, 8),
        score_kind="sigmoid",
        base_size_px=56.0,
        generator=torch.Generator().manual_seed(0),
    )
    return build_mimic(DistillationSettings.model_validate({"mimic": values, **others}), context)


def literal_map(student: Tensor, teacher: Tensor, weights: Tensor) -> float:
    total, num_cells = 0.0, 0
    batch, channels, height, width = teacher.shape
    for b in range(batch):
        for row in range(height):
            for column in range(width):
                squares = [float(student[b, e, row, column] - teacher[b, e, row, column]) ** 2 for e in range(channels)]
                total += float(weights[b, row, column]) * sum(squares) / channels
                num_cells += 1
    return total / num_cells


def literal_instances(student: Tensor, teacher: Tensor, weights: Tensor) -> float:
    total = 0.0
    for n, (ours, theirs) in enumerate(zip(student.tolist(), teacher.tolist(), strict=True)):
        total += float(weights[n]) * sum((s - t) ** 2 for s, t in zip(ours, theirs, strict=True)) / len(ours)
    return total / max(1, len(weights))


@pytest.mark.parametrize("seed", range(2))
def test_of_maps_equals_its_equation(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, 2, 3, 4, 5, generator=generator)
    weights = torch.rand(2, 4, 5, generator=generator)
    assert float(map_imitation(student, teacher, weights)) == pytest.approx(
        literal_map(student, teacher, weights), rel=1e-5
    )


@pytest.mark.parametrize("num_instances", [0, 1, 5])
def test_of_instances_equals_its_equation(num_instances: int) -> None:
    generator = torch.Generator().manual_seed(num_instances)
    student, teacher = torch.randn(2, num_instances, 3, generator=generator)
    weights = torch.rand(num_instances, generator=generator)
    found = float(instance_imitation(student, teacher, weights))
    assert found == pytest.approx(literal_instances(student, teacher, weights), rel=1e-5)


def test_without_weights_and_adapter_it_is_the_mean_squared_error_of_a_level(make_taps: MakeTaps) -> None:
    student, teacher = make_taps(student_channels=8)
    term = MapTerm(
        functools.partial(whole_map_loss, robust=True), adapters=nn.ModuleList(nn.Identity() for _ in STRIDES)
    )
    expected = [nn.functional.mse_loss(student.neck[s].detach(), teacher.neck[s]) for s in STRIDES]
    assert float(term(step_of(student, teacher)).detach()) == pytest.approx(float(torch.stack(expected).mean()))


@pytest.mark.parametrize("pooling", ["roi_align", "crop"])
def test_of_boxes_compares_the_steps_pooled_features(make_taps: MakeTaps, pooling: Pooling) -> None:
    student, teacher = make_taps(student_channels=8)
    step = step_of(student, teacher, pooling=pooling)
    term = box_term(pooling)
    features = step.features()
    expected = nn.functional.mse_loss(features.student_LND.detach(), features.teacher_LNE)
    assert float(term(step).detach()) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("adapter", ["conv1x1", "conv3x3"])
def test_boxes_are_pooled_from_the_adapted_map(make_taps: MakeTaps, adapter: str) -> None:
    student, teacher = make_taps()
    term = build({"regions": "boxes", "adapter": adapter}, pooling="crop")
    adapted = {
        s: layer(student.neck[s]).detach()
        for s, layer in zip(STRIDES, term.get_submodule("adapters").children(), strict=True)
    }
    step = step_of(student, teacher, pooling="crop")
    step_of_adapted = step_of(dataclasses.replace(student, neck=adapted), teacher, pooling="crop")
    identity = box_term("crop")
    assert float(term(step).detach()) == pytest.approx(float(identity(step_of_adapted)), rel=1e-5)


def test_levels_of_different_widths_are_compared_without_padding(make_taps: MakeTaps) -> None:
    student, teacher = make_taps(student_channels=8)
    for neck in (student.neck, teacher.neck):
        neck[32] = neck[32][:, :5].detach()
    step = step_of(student, teacher)
    term = box_term("roi_align")
    features = step.features()
    levels = [
        nn.functional.mse_loss(features.student_LND[level, :, :width], features.teacher_LNE[level, :, :width])
        for level, width in enumerate((8, 8, 5))
    ]
    assert float(term(step).detach()) == pytest.approx(float(torch.stack(levels).mean().detach()), rel=1e-5)


def test_gradient_reaches_student_and_adapters_alone(make_taps: MakeTaps) -> None:
    for regions in ("whole", "boxes"):
        student, teacher = make_taps()
        for teacher_map in teacher.neck.values():
            teacher_map.requires_grad_()
        term = build({"regions": regions})
        torch.autograd.backward(term(step_of(student, teacher)))
        assert all(value.grad is not None and bool(value.grad.any()) for value in term.parameters())
        assert all(m.grad is not None and bool(m.grad.any()) for m in student.neck.values())
        assert all(m.grad is None for m in teacher.neck.values())


def test_identity_needs_equal_channels() -> None:
    with pytest.raises(ConfigError, match=r"mimic.adapter = identity .* use conv1x1"):
        build({"adapter": "identity"})
