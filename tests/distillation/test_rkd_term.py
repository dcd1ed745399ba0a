"""The RKD losses against their equations, and transformations that do not change relations."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from distune.detectors.taps import StudentTaps, TeacherTaps
from distune.distillation.filtering import InstanceWeights
from distune.distillation.maps.pooling import PooledFeatures
from distune.distillation.term import Step
from distune.distillation.terms.rkd import Rkd, relation_losses

MakeTaps = Callable[..., tuple[StudentTaps, TeacherTaps]]
Vectors = list[list[float]]


def sample(num_instances: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student_LND = torch.randn(2, num_instances, 4, generator=generator)
    teacher_LNE = torch.randn(2, num_instances, 6, generator=generator) * torch.tensor([1.0, 2, 5, 1, 1, 0.1])
    return student_LND, teacher_LNE, torch.rand(2, num_instances, generator=generator)


def minus(x: list[float], y: list[float]) -> list[float]:
    return [a - b for a, b in zip(x, y, strict=True)]


def dot(x: list[float], y: list[float]) -> float:
    return sum(a * b for a, b in zip(x, y, strict=True))


def huber(x: float) -> float:
    return x * x / 2 if abs(x) < 1 else abs(x) - 0.5


def literal_distances(features: Vectors, weights: list[float]) -> dict[tuple[int, int], float]:
    pairs = list(itertools.permutations(range(len(features)), 2))
    lengths = {(i, j): math.dist(features[i], features[j]) for i, j in pairs}
    total = sum(weights[i] * weights[j] for i, j in pairs)
    mean = sum(weights[i] * weights[j] * lengths[i, j] for i, j in pairs) / total if total else 1.0
    return {pair: length / mean for pair, length in lengths.items()}


def literal_angle(features: Vectors, i: int, j: int, k: int) -> float:
    x, y = minus(features[i], features[j]), minus(features[k], features[j])
    return dot(x, y) / math.sqrt(dot(x, x) * dot(y, y))


def literal(student: Tensor, teacher: Tensor, weights: Tensor) -> tuple[float, float]:
    distance, angle = 0.0, 0.0
    levels = list(zip(student.tolist(), teacher.tolist(), weights.tolist(), strict=True))
    for ours, theirs, w in levels:
        pairs = list(itertools.permutations(range(len(w)), 2))
        triples = list(itertools.permutations(range(len(w)), 3))
        d_s, d_t = (literal_distances(features, w) for features in (ours, theirs))
        distance += sum(w[i] * w[j] * huber(d_s[i, j] - d_t[i, j]) for i, j in pairs) / max(1, len(pairs))
        angle += sum(
            w[i] * w[j] * w[k] * huber(literal_angle(ours, i, j, k) - literal_angle(theirs, i, j, k))
            for i, j, k in triples
        ) / max(1, len(triples))
    return distance / len(levels), angle / len(levels)


@pytest.mark.parametrize("num_instances", [0, 1, 2, 3, 6])
def test_equals_its_equation(num_instances: int) -> None:
    values = sample(num_instances)
    found = [float(loss) for loss in relation_losses(*values)]
    assert found == pytest.approx(literal(*values), rel=1e-4)
    assert [loss > 0 for loss in found] == [num_instances > 2] * 2  # the one distance of two instances is always 1


def test_scale_rotation_and_offset_of_a_space_have_no_effect() -> None:
    student, teacher, weights = sample(5)
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(1))).Q
    moved = 7 * student @ rotation + torch.tensor([1.0, -2, 3, 0])
    assert [float(loss) for loss in relation_losses(moved, student, weights)] == pytest.approx([0, 0], abs=1e-5)
    before, after = (relation_losses(each, teacher, weights) for each in (student, moved))
    assert torch.allclose(torch.stack(before), torch.stack(after), rtol=1e-4)


def test_the_order_of_instances_does_not_matter() -> None:
    student, teacher, weights = sample(6)
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    before = relation_losses(student, teacher, weights)
    after = relation_losses(student[:, order], teacher[:, order], weights[:, order])
    assert torch.allclose(torch.stack(before), torch.stack(after), rtol=1e-5)


def test_features_of_instances_of_weight_0_have_no_effect() -> None:
    student, teacher, weights = sample(5)
    weights[:, 2] = 0
    before = relation_losses(student, teacher, weights)
    student[:, 2], teacher[:, 2] = 100.0, -100.0
    assert torch.equal(torch.stack(before), torch.stack(relation_losses(student, teacher, weights)))


@pytest.mark.parametrize("num_instances", [0, 1])
def test_too_few_instances_give_0_with_a_graph(num_instances: int) -> None:
    student, teacher, weights = sample(num_instances)
    student.requires_grad_()
    distance, angle = relation_losses(student, teacher, weights)
    assert float(distance.detach()) == float(angle.detach()) == 0
    torch.autograd.backward(distance + angle)
    assert student.grad is not None
    assert not student.grad.any()


@pytest.mark.parametrize("equal", ["student", "both", "all of the student", "all of both"])
def test_instances_that_coincide_send_finite_gradient(equal: str) -> None:
    student, teacher, weights = sample(4)
    for features in (student, teacher) if "both" in equal else (student,):
        features[:, 1:] = features[:, :1] if "all" in equal else features[:, 1:].clone()
        features[:, 1] = features[:, 0]
    student.requires_grad_()
    losses = torch.stack(relation_losses(student, teacher, weights))
    torch.autograd.backward(losses.sum())
    assert losses.isfinite().all()
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_no_weight_at_all_is_0() -> None:
    student, teacher, weights = sample(4)
    assert [float(loss) for loss in relation_losses(student, teacher, 0 * weights)] == [0, 0]


def test_gradient_reaches_the_student_alone() -> None:
    student, teacher, weights = (values.requires_grad_() for values in sample(4))
    torch.autograd.backward(torch.stack(relation_losses(student, teacher, weights)).sum())
    assert student.grad is not None
    assert bool(student.grad.any())
    assert teacher.grad is None
    assert weights.grad is None


def test_only_the_first_instances_take_part(make_taps: MakeTaps) -> None:
    student_LND, teacher_LNE, weights_LN = sample(7)
    weights = InstanceWeights(weights_LN, weights_LN, weights_LN, weights_LN > -1)
    step = Step(*make_taps(), (8, 16), weights, None, lambda: PooledFeatures(student_LND, teacher_LNE))
    for num in (2, 5, 7, 64):
        found = float(Rkd(angle_ratio=3.0, max_instances=num)(step))
        distance, angle = literal(student_LND[:, :num], teacher_LNE[:, :num], weights_LN[:, :num])
        assert found == pytest.approx(distance + 3 * angle, rel=1e-4)
