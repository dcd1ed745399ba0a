"""The soft label losses against their equations."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from distune.distillation.terms.soft_labels import Reduction, soft_label_loss

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
