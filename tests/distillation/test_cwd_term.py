"""The CWD loss against its equation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from distune.distillation.terms.cwd import channel_divergence


def sample(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = 2 * torch.randn(2, 2, 3, 4, 5, generator=generator)
    return student, teacher, torch.rand(2, 4, 5, generator=generator)


def literal_softmax(values: list[float], weights: list[float], temperature: float) -> list[float]:
    terms = [w * math.exp(x / temperature) for x, w in zip(values, weights, strict=True)]
    return [term / sum(terms) for term in terms]


def literal(student: Tensor, teacher: Tensor, weights: Tensor, temperature: float) -> float:
    total, count = 0.0, 0
    for b in range(student.shape[0]):
        w = weights[b].flatten().tolist()
        for e in range(student.shape[1]):
            count += 1
            if sum(w) == 0:
                continue
            q, p = (literal_softmax(each[b, e].flatten().tolist(), w, temperature) for each in (student, teacher))
            total += sum(w) / len(w) * sum(x * math.log(x / y) for x, y in zip(p, q, strict=True) if x > 0)
    return temperature**2 * total / count


def loss(values: tuple[Tensor, Tensor, Tensor], temperature: float = 2.0) -> Tensor:
    return channel_divergence(*values, temperature=temperature)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("zeros", ["none", "some", "an image"])
def test_equals_its_equation(temperature: float, zeros: str) -> None:
    student, teacher, weights = sample()
    if zeros == "some":
        weights[:, 1:3, 2:] = 0
    if zeros == "an image":
        weights[1] = 0
    expected = literal(student, teacher, weights, temperature)
    assert expected > 0
    assert float(loss((student, teacher, weights), temperature)) == pytest.approx(expected, rel=1e-4)


def test_with_equal_weights_it_is_torchs_divergence() -> None:
    student, teacher, weights = sample()
    log_q, log_p = (each.flatten(2).flatten(0, 1).log_softmax(dim=1) for each in (student, teacher))
    expected = torch.nn.functional.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
    assert float(loss((student, teacher, torch.ones_like(weights)), 1.0)) == pytest.approx(float(expected), rel=1e-5)


def test_positions_of_weight_0_have_no_effect_on_the_divergence() -> None:
    student, teacher, weights = sample()
    weights[:, :, 3:] = 0
    kept = tuple(each[..., :3] for each in (student, teacher, weights))
    assert float(loss((student, teacher, weights))) == pytest.approx(3 / 5 * float(loss((kept[0], kept[1], kept[2]))))


@pytest.mark.parametrize("seed", range(3))
def test_is_not_negative_and_0_where_channels_differ_by_an_offset(seed: int) -> None:
    student, teacher, weights = sample(seed)
    offset = torch.tensor([3.0, -40.0, 7.0])[:, None, None]
    assert float(loss((teacher + offset, teacher, weights))) == pytest.approx(0, abs=1e-4)
    assert float(loss((teacher, teacher, weights))) == 0
    assert float(loss((teacher + 0.1 * student, teacher, weights))) > 0


def test_images_without_weight_send_no_gradient_and_others_only_where_they_have_weight() -> None:
    student, teacher, weights = sample()
    weights[0] = 0
    weights[1, 0] = 0
    for values in (student, teacher, weights):
        values.requires_grad_()
    torch.autograd.backward(loss((student, teacher, weights)))
    assert student.grad is not None
    assert torch.equal(student.grad.abs().sum(dim=1) > 0, weights.detach() > 0)
    assert teacher.grad is None
    assert weights.grad is None


def test_large_values_stay_finite() -> None:
    student, teacher, weights = sample()
    weights[:, 1] = 0
    student = (1e4 * student).requires_grad_()
    value = loss((student, -1e4 * teacher, weights), 0.1)
    torch.autograd.backward(value)
    assert value.isfinite()
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_gradient_keeps_its_size_when_the_temperature_changes() -> None:
    norms = []
    for temperature in (40.0, 80.0):
        student, teacher, weights = sample()
        student.requires_grad_()
        torch.autograd.backward(loss((student, teacher, weights), temperature))
        assert student.grad is not None
        norms.append(float(student.grad.norm()))
    assert norms[0] == pytest.approx(norms[1], rel=0.1)
