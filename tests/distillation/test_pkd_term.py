"""PKD against its equation, number by number, and against Pearson's correlation."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distune.detectors.taps import StudentTaps, TeacherTaps
from distune.distillation.filtering import InstanceWeights
from distune.distillation.maps.pooling import PooledFeatures
from distune.distillation.term import Step
from distune.distillation.terms.map_term import MapTerm
from distune.distillation.terms.pkd import level_loss, pearson_imitation

MakeTaps = Callable[..., tuple[StudentTaps, TeacherTaps]]
STRIDES = (8, 16, 32)


def literal_loss(student: Tensor, teacher: Tensor, weights: Tensor) -> float:
    """One level, with scalars."""
    w = [float(value) for value in weights.flatten()]
    total, loss = sum(w), 0.0
    channels = teacher.shape[1]
    for e in range(channels):
        standardized = []
        for maps in (student, teacher):
            x = [float(value) for value in maps[:, e].flatten()]
            mean = sum(wc * xc for wc, xc in zip(w, x, strict=True)) / total
            variance = sum(wc * (xc - mean) ** 2 for wc, xc in zip(w, x, strict=True)) / total
            standardized.append([(xc - mean) / math.sqrt(variance) for xc in x])
        squared = [(a - b) ** 2 for a, b in zip(*standardized, strict=True)]
        loss += sum(wc * error for wc, error in zip(w, squared, strict=True)) / total / 2
    return loss / channels


def no_features() -> PooledFeatures:
    raise AssertionError("the term pools no features")


def step_of(student: StudentTaps, teacher: TeacherTaps, local_LN: Tensor) -> Step:
    weights = InstanceWeights(torch.zeros_like(local_LN), local_LN, local_LN, local_LN > -1)
    return Step(student, teacher, STRIDES, weights, None, no_features)


def term_of(*, robust: bool = True) -> MapTerm:
    adapters = nn.ModuleList(nn.Identity() for _ in STRIDES)
    return MapTerm(functools.partial(level_loss, robust=robust), adapters=adapters)


def maps(seed: int = 0, shape: tuple[int, ...] = (2, 3, 4, 5)) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (torch.randn(shape, generator=generator) for _ in range(2))
    return student, teacher, torch.rand(shape[0], *shape[2:], generator=generator)


def test_equals_its_equation() -> None:
    student, teacher, weights = maps()
    assert float(pearson_imitation(student, teacher, weights)) == pytest.approx(
        literal_loss(student, teacher, weights), rel=1e-5
    )


def test_is_one_minus_the_correlation() -> None:
    student, teacher, weights = maps(1)
    correlations = [
        np.corrcoef(student[:, e].flatten().numpy(), teacher[:, e].flatten().numpy())[0, 1] for e in range(3)
    ]
    found = float(pearson_imitation(student, teacher, torch.ones_like(weights)))
    assert found == pytest.approx(1 - float(np.mean(correlations)), rel=1e-5)


@pytest.mark.parametrize(("factor", "offset"), [(1e-4, 0.0), (3000.0, 2.0), (1.0, -40.0), (0.2, 0.1)])
def test_offset_and_scale_of_either_model_do_not_matter(factor: float, offset: float) -> None:
    student, teacher, weights = maps(2)
    expected = float(pearson_imitation(student, teacher, weights))
    assert float(pearson_imitation(factor * student + offset, teacher, weights)) == pytest.approx(expected, rel=1e-4)
    assert float(pearson_imitation(student, factor * teacher + offset, weights)) == pytest.approx(expected, rel=1e-4)
    assert float(pearson_imitation(factor * teacher + offset, teacher, weights)) == pytest.approx(0, abs=1e-6)
    assert float(pearson_imitation(-factor * teacher + offset, teacher, weights)) == pytest.approx(2, rel=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.1, -7000.3])
def test_a_channel_that_does_not_vary_divides_nothing_by_zero(value: float) -> None:
    student, teacher, weights = maps(3, (2, 1, 4, 5))
    constant = torch.full_like(student, value).requires_grad_()
    student.requires_grad_()
    of_student = pearson_imitation(constant, teacher, weights)
    of_teacher = pearson_imitation(student, constant.detach(), weights)
    of_both = pearson_imitation(constant, torch.full_like(teacher, 0.3), weights)
    assert [float(loss.detach()) for loss in (of_student, of_teacher, of_both)] == pytest.approx([0.5, 0.5, 0])
    torch.autograd.backward(of_student + of_teacher + of_both)
    assert constant.grad is not None
    assert not constant.grad.any()
    assert student.grad is not None
    assert float(student.grad.abs().max()) < 1e-4


def test_weights_act_on_mean_variance_and_error_and_their_scale_does_not() -> None:
    student, teacher, weights = maps(4)
    half = weights.clone()
    half[..., 3:] = 0
    left, expected = (
        float(pearson_imitation(s, t, w))
        for s, t, w in ((student, teacher, half), (student[..., :3], teacher[..., :3], weights[..., :3]))
    )
    assert left == pytest.approx(expected, rel=1e-5)
    assert left == pytest.approx(float(pearson_imitation(student, teacher, 0.25 * half)), rel=1e-5)
    assert left != pytest.approx(float(pearson_imitation(student, teacher, weights)), rel=1e-3)


def test_nothing_is_learned_without_any_weight() -> None:
    student, teacher, weights = maps(5)
    student.requires_grad_()
    loss = pearson_imitation(student, teacher, torch.zeros_like(weights))
    torch.autograd.backward(loss)
    assert float(loss.detach()) == 0
    assert student.grad is not None
    assert not student.grad.any()


def test_the_term_is_the_mean_over_levels_with_cells_weighted_by_the_filter(make_taps: MakeTaps) -> None:
    student, teacher = make_taps(student_channels=3, teacher_channels=3)
    local_LN = torch.rand(3, 7, generator=torch.Generator().manual_seed(1))
    step = step_of(student, teacher, local_LN)
    for robust in (True, False):
        expected = [
            literal_loss(student.neck[stride].detach(), teacher.neck[stride], step.cell_weights(level, robust=robust))
            for level, stride in enumerate(STRIDES)
        ]
        loss = term_of(robust=robust)(step)
        assert float(loss.detach()) == pytest.approx(sum(expected) / 3, rel=1e-5)


@pytest.mark.parametrize("counts", [(1,), (0, 0), (4, 3)])
def test_accepts_bfloat16_maps_and_sends_finite_gradients_to_the_student_alone(
    make_taps: MakeTaps, counts: tuple[int, ...]
) -> None:
    student, teacher = make_taps(
        student_channels=8, boxes_per_image=counts, image_size=(32, 32), dtype=torch.bfloat16
    )  # the coarsest level is a single cell, which cannot vary in one image
    for teacher_map in teacher.neck.values():
        teacher_map.requires_grad_()
    loss = term_of()(step_of(student, teacher, torch.ones(3, sum(counts))))
    torch.autograd.backward(loss)
    assert loss.dtype == torch.float32
    assert float(loss.detach()) > 0
    gradients = [each.grad for each in student.neck.values()]
    assert all(gradient is not None and bool(gradient.isfinite().all()) for gradient in gradients)
    assert gradients[0] is not None
    assert bool(gradients[0].any())
    assert all(each.grad is None for each in teacher.neck.values())
