"""The global knowledge loss in all its forms, against its equations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from distune.config.distillation import DistillationSettings
from distune.detectors.taps import StudentTaps, TeacherTaps
from distune.distillation.maps.box_masks import level_of_boxes, weight_mask
from distune.distillation.maps.pooling import l2_normalize
from distune.distillation.term import Step, TermContext
from distune.distillation.terms.global_knowledge import (
    CellGlobalKnowledge,
    Form,
    GlobalKnowledge,
    build_global_knowledge,
)
from support.objectives import FEATURE_PASS, build, source

MakeTaps = Callable[..., tuple[StudentTaps, TeacherTaps]]
FORMS = [Form(name="smooth_l1", temperature=0.1), Form(name="divergence", temperature=0.3)]
BASE_SIZE_PX = 6.0


def sample(seed: int = 0, num_instances: int = 4) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student_LNP = 3 * torch.randn(2, num_instances, 3, generator=generator)
    teacher_LNP = 3 * torch.randn(2, num_instances, 3, generator=generator)
    valid_LNP = torch.rand(2, num_instances, 3, generator=generator) < 0.7
    return student_LNP, teacher_LNP, torch.rand(2, num_instances, generator=generator), valid_LNP


def literal(form: Form, student: list[float], teacher: list[float], weight: float, valid: list[bool]) -> float:
    pairs = [(s, t) for s, t, is_valid in zip(student, teacher, valid, strict=True) if is_valid]
    if not pairs:
        return 0.0
    if form.name == "smooth_l1":
        differences = [abs(weight * (s - t)) for s, t in pairs]
        return sum(d**2 / 2 if d < 1 else d - 0.5 for d in differences) / len(pairs)
    sums = [sum(math.exp(pair[model] / form.temperature) for pair in pairs) for model in (0, 1)]
    total = 0.0
    for s, t in pairs:
        q_s, q_t = math.exp(s / form.temperature) / sums[0], math.exp(t / form.temperature) / sums[1]
        total += q_t * math.log(q_t / q_s)
    return weight * total


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("form", FORMS)
def test_a_form_equals_its_equation(form: Form, seed: int) -> None:
    student_LNP, teacher_LNP, weights_LN, valid_LNP = sample(seed)
    found_LN = form(student_LNP, teacher_LNP, weights_LN, valid_LNP)
    for level in range(2):
        for n in range(4):
            expected = literal(
                form,
                student_LNP[level, n].tolist(),
                teacher_LNP[level, n].tolist(),
                float(weights_LN[level, n]),
                valid_LNP[level, n].tolist(),
            )
            assert float(found_LN[level, n]) == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_gradient_reaches_the_student_alone(form: Form) -> None:
    tensors = sample()
    student_LNP, teacher_LNP, weights_LN = (tensor.requires_grad_() for tensor in tensors[:3])
    torch.autograd.backward(form(student_LNP, teacher_LNP, weights_LN, tensors[3]).sum())
    assert student_LNP.grad is not None
    assert student_LNP.grad.abs().sum() > 0
    assert teacher_LNP.grad is None
    assert weights_LN.grad is None


@pytest.mark.parametrize("form", FORMS)
def test_without_valid_prototypes_it_is_zero(form: Form) -> None:
    student_LNP, teacher_LNP, weights_LN, valid_LNP = sample()
    student_LNP.requires_grad_()
    nothing = form(student_LNP, teacher_LNP, weights_LN, valid_LNP & False)
    assert not nothing.any()
    torch.autograd.backward(nothing.sum())
    assert student_LNP.grad is not None
    assert student_LNP.grad.isfinite().all()
    assert not form(teacher_LNP, teacher_LNP, weights_LN, valid_LNP).any()
    assert form(*sample(num_instances=0)).shape == (2, 0)


def step_of(make_taps: MakeTaps, **arguments: Any) -> Step:
    """A step on prototypes of other batches, with uneven weights."""
    objective = build({"prototypes": {"source": FEATURE_PASS}}, student_channels=(8, 8, 8))
    objective.begin_epoch(1, source(make_taps, student_channels=8))
    step = objective._step(*make_taps(student_channels=8, **arguments))
    step.weights.global_LN[:, ::2] *= 0.25
    return step


def adapters() -> torch.nn.ModuleList:
    settings = DistillationSettings.model_validate({"global_knowledge": {"weight": 1.0, "space": "teacher"}})
    context = TermContext(
        strides=(8, 16, 32),
        student_channels=(8, 8, 8),
        teacher_channels=(8, 8, 8),
        score_kind="sigmoid",
        base_size_px=56.0,
        generator=torch.Generator().manual_seed(1),
    )
    term = build_global_knowledge(settings, context)
    assert term.adapters is not None
    return term.adapters


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("in_teachers_space", [False, True])
@pytest.mark.parametrize("base_size_px", [None, BASE_SIZE_PX])
def test_over_instances(make_taps: MakeTaps, form: Form, in_teachers_space: bool, base_size_px: float | None) -> None:
    step = step_of(make_taps)
    layers = adapters() if in_teachers_space else None
    term = GlobalKnowledge(
        form=form,
        representation="cosine",
        same_class_only=False,
        base_size_px=base_size_px,
        adapters=layers,
    )
    assert step.representations is not None
    student_LCMD, teacher_LCME = step.representations.bases("cosine")
    level_N = level_of_boxes(step.instances.boxes_N4, step.strides, base_size_px=BASE_SIZE_PX).tolist()
    per_level: list[list[float]] = []
    for level in range(3):
        losses = []
        for n in range(7):
            if base_size_px is not None and level_N[n] != level:
                continue
            student_D = step.features().student_LND[level, n]
            basis_PD = student_LCMD[level].flatten(0, 1)
            if layers is not None:
                student_D, basis_PD = layers[level](student_D), teacher_LCME[level].flatten(0, 1)
            losses.append(
                literal(
                    form,
                    (basis_PD @ l2_normalize(student_D)).tolist(),
                    (teacher_LCME[level].flatten(0, 1) @ l2_normalize(step.features().teacher_LNE[level, n])).tolist(),
                    float(step.weights.global_LN[level, n]),
                    step.representations.valid_LCM[level].flatten().tolist(),
                )
            )
        per_level.append(losses)
    if base_size_px is None:
        expected = sum(sum(losses) / len(losses) for losses in per_level) / 3
    else:
        expected = sum(sum(losses) for losses in per_level) / 7
    assert float(term(step).detach()) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("in_teachers_space", [False, True])
@pytest.mark.parametrize("base_size_px", [None, BASE_SIZE_PX])
def test_over_cells(make_taps: MakeTaps, form: Form, in_teachers_space: bool, base_size_px: float | None) -> None:
    step = step_of(make_taps)
    layers = adapters() if in_teachers_space else None
    term = CellGlobalKnowledge(
        form=form, representation="cosine", base_size_px=base_size_px, adapters=layers, background_weight=0.1
    )
    assert step.representations is not None
    student_LCMD, teacher_LCME = step.representations.bases("cosine")
    level_N = level_of_boxes(step.instances.boxes_N4, step.strides, base_size_px=BASE_SIZE_PX)
    total, weight = 0.0, 0.0
    for level, stride in enumerate(step.strides):
        student_BDHW, teacher_BEHW = step.maps(level)
        size = (teacher_BEHW.shape[2], teacher_BEHW.shape[3])
        values_N = step.weights.global_LN[level]
        if base_size_px is not None:
            values_N = torch.where(level_N == level, values_N, -1.0)
        mask_BHW = weight_mask(values_N, step.instances, stride=stride, size=size)
        for b in range(2):
            for row in range(size[0]):
                for column in range(size[1]):
                    m = float(mask_BHW[b, row, column])
                    m = 0.1 if m < 0 else m
                    student_D, basis_PD = student_BDHW[b, :, row, column], student_LCMD[level].flatten(0, 1)
                    if layers is not None:
                        student_D, basis_PD = layers[level](student_D), teacher_LCME[level].flatten(0, 1)
                    teacher_P = teacher_LCME[level].flatten(0, 1) @ l2_normalize(teacher_BEHW[b, :, row, column])
                    valid_P = step.representations.valid_LCM[level].flatten().tolist()
                    total += m * literal(
                        form, (basis_PD @ l2_normalize(student_D)).tolist(), teacher_P.tolist(), 1.0, valid_P
                    )
                    weight += m
    assert float(term(step).detach()) == pytest.approx(total / weight, rel=1e-4)


def test_cells_without_boxes_or_background_give_0(make_taps: MakeTaps) -> None:
    step = step_of(make_taps, boxes_per_image=(0, 0))
    for background_weight, is_zero in ((0.0, True), (0.5, False)):
        term = CellGlobalKnowledge(
            form=FORMS[1],
            representation="coefficient",
            base_size_px=None,
            adapters=None,
            background_weight=background_weight,
        )
        assert (float(term(step).detach()) == 0) == is_zero


def test_cells_have_no_class_of_their_own() -> None:
    with pytest.raises(ValueError, match="a cell has no class"):
        DistillationSettings.model_validate({"global_knowledge": {"at": "cells", "classes": "own"}})
