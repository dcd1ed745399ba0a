"""The soft label losses against their equations."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from distune.config.distillation import DistillationSettings
from distune.config.terms import SoftLabelsSettings
from distune.distillation.term import TermContext
from distune.distillation.terms import soft_labels
from distune.distillation.terms.soft_labels import (
    DenseSoftLabels,
    FocusedDivergence,
    Reduction,
    SoftLabels,
    bernoulli_divergence,
    build_soft_labels,
    dense_soft_label_loss,
    near_bernoulli_divergence,
    soft_label_loss,
)

KINDS = ["softmax", "sigmoid"]


def sample(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, 7, 4, generator=generator)
    return logits[0], logits[1], torch.rand(7, generator=generator), torch.rand(7, generator=generator) < 0.6


def kl(teacher: list[float], student: list[float]) -> float:
    return sum(p * math.log(p / q) for p, q in zip(teacher, student, strict=True))


def probabilities(logits: list[float], kind: str, temperature: float) -> list[list[float]]:
    """The distributions of a site: one over all classes, or one of two outcomes for each class but the unused one."""
    scaled = [z / temperature for z in logits]
    if kind == "softmax":
        total = sum(math.exp(z) for z in scaled)
        return [[math.exp(z) / total for z in scaled]]
    return [[1 / (1 + math.exp(-z)), 1 / (1 + math.exp(z))] for z in scaled[1:]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reduction", ["batchmean", "mean"])
@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_equals_its_equation(kind: str, reduction: Reduction, temperature: float) -> None:
    student, teacher, weights, positive = sample()
    total = 0.0
    for r in range(7):
        if positive[r]:
            pair = [probabilities(values[r].tolist(), kind, temperature) for values in (teacher, student)]
            total += float(weights[r]) * sum(kl(t, s) for t, s in zip(*pair, strict=True))
    num_scores = (4 if kind == "softmax" else 3) if reduction == "mean" else 1
    expected = temperature**2 * total / (int(positive.sum()) * num_scores)
    found = soft_label_loss(
        student, teacher, weights, positive, score_kind=kind, temperature=temperature, reduction=reduction
    )
    assert float(found) == pytest.approx(expected, rel=1e-5)


def loss(kind: str, values: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
    return soft_label_loss(*values, score_kind=kind, temperature=2.0, reduction="batchmean")


@pytest.mark.parametrize("kind", KINDS)
def test_only_positive_sites_of_the_student_get_gradient(kind: str) -> None:
    student, teacher, weights, positive = sample()
    for values in (student, teacher, weights):
        values.requires_grad_()
    torch.autograd.backward(loss(kind, (student, teacher, weights, positive)))
    assert student.grad is not None
    assert teacher.grad is None
    assert weights.grad is None
    touched = student.grad.abs().sum(dim=1) > 0
    assert torch.equal(touched, positive)
    if kind == "sigmoid":
        assert student.grad[:, 0].abs().sum() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_no_positive_site_or_no_site_is_zero(kind: str) -> None:
    student, teacher, weights, positive = sample()
    assert float(loss(kind, (student, teacher, weights, positive & False))) == 0
    assert float(loss(kind, (student[:0], teacher[:0], weights[:0], positive[:0]))) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_certain_scores_stay_finite(kind: str) -> None:
    student, teacher, weights, positive = sample()
    student = (student * 1000).requires_grad_()
    value = loss(kind, (student, -teacher * 1000, weights, positive))
    torch.autograd.backward(value)
    assert student.grad is not None
    assert value.isfinite()
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_keeps_its_size_when_the_temperature_changes(kind: str) -> None:
    norms = []
    for temperature in (20.0, 40.0):
        student, teacher, weights, positive = sample()
        student.requires_grad_()
        soft_label_loss(
            student, teacher, weights, positive, score_kind=kind, temperature=temperature, reduction="batchmean"
        ).backward()  # type: ignore[no-untyped-call]
        assert student.grad is not None
        norms.append(float(student.grad.norm()))
    assert norms[0] == pytest.approx(norms[1], rel=0.1)


def dense(kind: str, values: tuple[Tensor, Tensor, Tensor, Tensor], *, focus: float = 1.0) -> Tensor:
    return dense_soft_label_loss(*values, score_kind=kind, temperature=2.0, focus=focus, reduction="batchmean")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reduction", ["batchmean", "mean"])
@pytest.mark.parametrize(("temperature", "focus"), [(1.0, 1.0), (2.0, 0.0), (3.0, 2.0), (2.0, 0.5)])
def test_dense_equals_its_equation(kind: str, reduction: Reduction, temperature: float, focus: float) -> None:
    student, teacher, weights, positive = sample()
    total = 0.0
    for r in range(7):
        soft = [probabilities(values[r].tolist(), kind, temperature) for values in (teacher, student)]
        hard = [probabilities(values[r].tolist(), kind, 1.0) for values in (teacher, student)]
        for of_teacher, of_student, p_teacher, p_student in zip(*soft, *hard, strict=True):
            # Of two outcomes the total variation is the difference of the probabilities of one.
            difference = sum(abs(t - s) for t, s in zip(p_teacher, p_student, strict=True)) / 2
            total += float(weights[r]) * difference**focus * kl(of_teacher, of_student)
    num_scores = (4 if kind == "softmax" else 3) if reduction == "mean" else 1
    found = dense_soft_label_loss(
        student,
        teacher,
        weights,
        positive,
        score_kind=kind,
        temperature=temperature,
        focus=focus,
        reduction=reduction,
    )
    assert float(found) == pytest.approx(temperature**2 * total / (int(positive.sum()) * num_scores), rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("focus", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 100.0, 1e4])
def test_dense_is_0_without_gradient_when_student_equals_teacher(kind: str, focus: float, scale: float) -> None:
    student, _, weights, positive = sample()
    student = (scale * student).requires_grad_()
    value = dense(kind, (student, student.detach().clone(), weights, positive), focus=focus)
    torch.autograd.backward(value)
    assert student.grad is not None
    assert float(value.detach()) == pytest.approx(0, abs=1e-6)
    assert student.grad.abs().max() < 1e-5 * min(1.0, 1 / focus if focus else 1.0)
    if focus:
        assert float(value.detach()) == 0
        assert not student.grad.any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("focus", [0.0, 0.3, 1.0, 5.0])
def test_dense_scores_that_are_certain_stay_finite(kind: str, focus: float) -> None:
    student, teacher, weights, positive = sample()
    student = (student * 1e4).requires_grad_()
    value = dense(kind, (student, -teacher * 1e4, weights, positive), focus=focus)
    torch.autograd.backward(value)
    assert student.grad is not None
    assert value.isfinite()
    assert float(value.detach()) > 0
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_dense_gradient_is_that_of_the_divergence_alone(kind: str) -> None:
    """The disagreement is a constant to the gradient."""
    student, teacher, weights, positive = sample()
    for values in (student, teacher, weights):
        values.requires_grad_()
    torch.autograd.backward(dense(kind, (student, teacher, weights, positive)))
    assert student.grad is not None
    assert teacher.grad is None
    assert weights.grad is None
    touched = student.grad.abs().sum(dim=1) > 0
    assert bool(touched.all()), "sites that are not positive get a gradient too"
    if kind == "sigmoid":
        z, t = student.detach()[:, 1:], teacher.detach()[:, 1:]
        pull = 2.0 * (t.sigmoid() - z.sigmoid()).abs() * ((z / 2).sigmoid() - (t / 2).sigmoid())
        expected = weights.detach()[:, None] * pull / int(positive.sum())
        assert torch.allclose(student.grad[:, 1:], expected, atol=1e-6)
        assert not student.grad[:, 0].any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [0.0, 50.0, -1e30])
def test_dense_sites_of_weight_0_take_no_part(kind: str, value: float) -> None:
    student, teacher, weights, positive = sample()
    weights = torch.where(torch.arange(7) < 3, 0.0, weights)
    expected = dense(kind, (student, teacher, weights, positive))
    student[:3] = value
    student.requires_grad_()
    found = dense(kind, (student, teacher, weights, positive))
    torch.autograd.backward(found)
    assert float(found.detach()) == pytest.approx(float(expected))
    assert student.grad is not None
    assert student.grad.isfinite().all()
    assert not student.grad[:3].any()


@pytest.mark.parametrize("kind", KINDS)
def test_dense_without_positive_site_is_divided_by_1(kind: str) -> None:
    student, teacher, weights, positive = sample()
    none = float(dense(kind, (student, teacher, weights, positive & False)))
    one = float(dense(kind, (student, teacher, weights, torch.arange(7) == 2)))
    assert none == pytest.approx(one)
    assert float(dense(kind, (student[:0], teacher[:0], weights[:0], positive[:0]))) == 0


@pytest.mark.parametrize(
    ("sites", "score_kind", "expected"),
    [
        ("auto", "sigmoid", DenseSoftLabels),
        ("auto", "softmax", SoftLabels),
        ("all", "softmax", DenseSoftLabels),
        ("positive", "sigmoid", SoftLabels),
    ],
)
def test_the_setting_selects_the_sites(sites: str, score_kind: str, expected: type) -> None:
    context = TermContext(
        strides=(8,),
        student_channels=(8,),
        teacher_channels=(8,),
        score_kind=score_kind,
        base_size_px=56.0,
        generator=torch.Generator(),
    )
    settings = DistillationSettings.model_validate({"soft_labels": {"sites": sites}})
    assert type(build_soft_labels(settings, context)) is expected


def test_a_focus_without_effect_is_refused() -> None:
    assert SoftLabelsSettings(sites="all", focus=0.0).focus == 0
    with pytest.raises(ValidationError, match=r"soft_labels\.focus = 2\thas no effect with sites positive"):
        SoftLabelsSettings(sites="positive", focus=2.0)


def test_the_divergence_is_exact_where_scores_nearly_agree() -> None:
    teacher = torch.tensor([-12.0, -4.6, -2.0, 0.0, 3.0, 12.0])[:, None]
    difference = torch.tensor([-30.0, -2.0, -0.3, -1e-2, -1e-3, 0.0, 1e-3, 1e-2, 0.3, 2.0, 30.0, 200.0])
    student = teacher + difference
    t, s = teacher.expand_as(student).double(), student.double()
    log = torch.nn.functional.logsigmoid
    expected = t.sigmoid() * (log(t) - log(s)) + (-t).sigmoid() * (log(-t) - log(-s))
    found = near_bernoulli_divergence(student, t.float()).double()
    assert bool((found >= 0).all())
    assert torch.allclose(found, expected, rtol=1e-2, atol=1e-13)


def test_scores_that_nearly_agree_keep_their_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    teacher = -4.6 + 0.1 * torch.randn(500, 4, generator=generator)
    student = (teacher + 1e-4 * torch.randn(500, 4, generator=generator)).requires_grad_()
    ones, positive = torch.ones(500), torch.arange(500) < 5
    torch.autograd.backward(dense("sigmoid", (student, teacher, ones, positive), focus=0.0))
    assert student.grad is not None
    differs = (student.detach() != teacher)[:, 1:]
    assert float((student.grad[:, 1:] != 0)[differs].float().mean()) > 0.99


def test_the_written_gradient_is_that_of_the_value() -> None:
    student, teacher, weights = one_stage_scores()
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: FocusedDivergence.apply(z, teacher, weights, 2.0, 0.0), (student,))


def test_the_disagreement_is_a_constant_to_the_written_gradient() -> None:
    student, teacher, weights = one_stage_scores()
    student.requires_grad_()
    gap = (teacher.sigmoid() - student.detach().sigmoid()).abs()
    expected = (weights[:, None] * gap**1.5 * bernoulli_divergence(student / 3, teacher / 3)).sum()
    found = FocusedDivergence.apply(student, teacher, weights, 3.0, 1.5)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*(torch.autograd.grad(each, student)[0] for each in (found, expected)))


@pytest.mark.parametrize("scores_at_a_time", [1, 6, 7, 9])
def test_sites_may_be_computed_in_parts(monkeypatch: pytest.MonkeyPatch, scores_at_a_time: int) -> None:
    student, teacher, weights = one_stage_scores()
    student.requires_grad_()
    whole = FocusedDivergence.apply(student, teacher, weights, 2.0, 1.0)
    monkeypatch.setattr(soft_labels, "_SCORES_AT_A_TIME", scores_at_a_time)
    parts = FocusedDivergence.apply(student, teacher, weights, 2.0, 1.0)
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(*(torch.autograd.grad(each, student)[0] for each in (parts, whole)))


def one_stage_scores() -> tuple[Tensor, Tensor, Tensor]:
    student, teacher, weights, _ = sample()
    return student[:, 1:].double(), teacher[:, 1:].double(), weights.double()
