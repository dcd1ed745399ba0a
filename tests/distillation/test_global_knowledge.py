"""The global knowledge loss against its equation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from distune.distillation.terms.global_knowledge import global_knowledge_loss


def sample(seed: int = 0, num_instances: int = 4) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student_LNP = 3 * torch.randn(2, num_instances, 3, generator=generator)
    teacher_LNP = 3 * torch.randn(2, num_instances, 3, generator=generator)
    valid_LNP = torch.rand(2, num_instances, 3, generator=generator) < 0.7
    return student_LNP, teacher_LNP, torch.rand(2, num_instances, generator=generator), valid_LNP


def literal(student: Tensor, teacher: Tensor, weights: Tensor, valid: Tensor) -> float:
    levels = []
    for level in range(student.shape[0]):
        total, count = 0.0, 0
        for n in range(student.shape[1]):
            for p in range(student.shape[2]):
                if valid[level, n, p]:
                    difference = abs(float(weights[level, n] * (student[level, n, p] - teacher[level, n, p])))
                    total += difference**2 / 2 if difference < 1 else difference - 0.5
                    count += 1
        levels.append(total / max(1, count))
    return sum(levels) / len(levels)


@pytest.mark.parametrize("seed", range(3))
def test_is_what_its_equation_says(seed: int) -> None:
    values = sample(seed)
    assert float(global_knowledge_loss(*values)) == pytest.approx(literal(*values), rel=1e-5)


def test_gradient_reaches_the_student_alone() -> None:
    tensors = sample()
    student_LNP, teacher_LNP, weights_LN = (tensor.requires_grad_() for tensor in tensors[:3])
    torch.autograd.backward(global_knowledge_loss(student_LNP, teacher_LNP, weights_LN, tensors[3]))
    assert student_LNP.grad is not None
    assert student_LNP.grad.abs().sum() > 0
    assert teacher_LNP.grad is None
    assert weights_LN.grad is None


def test_nothing_to_compare_is_zero() -> None:
    student_LNP, teacher_LNP, weights_LN, valid_LNP = sample()
    assert float(global_knowledge_loss(student_LNP, teacher_LNP, weights_LN, valid_LNP & False)) == 0
    assert float(global_knowledge_loss(*sample(num_instances=0))) == 0
    assert float(global_knowledge_loss(student_LNP, student_LNP, weights_LN, valid_LNP)) == 0
