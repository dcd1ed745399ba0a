"""Weights as fractions of the gradient: the measurement, its steps, and the resulting factors."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from distune.config.distillation import DistillationSettings
from distune.detectors.taps import StudentTaps, TeacherTaps
from distune.distillation.gradient_balance import GradientBalance, gradient_length
from distune.distillation.objective import Objective
from support.objectives import build, source

MakeTaps = Callable[..., tuple[StudentTaps, TeacherTaps]]
SHARES: dict[str, Any] = {
    "global_knowledge": {"weight": 0.3, "unit": "gradient_share"},
    "local_knowledge": {"weight": 2.0, "unit": "gradient_share"},
    "soft_labels": {"weight": 7.0},
    "prototypes": {"source": {"kind": "feature_pass"}},
}


def test_length_is_that_of_all_maps_together() -> None:
    maps = [torch.zeros(2, 3, requires_grad=True), torch.zeros(4, requires_grad=True)]
    assert float(gradient_length(3 * maps[0].sum() + 4 * maps[1][0], maps)) == pytest.approx((6 * 9 + 16) ** 0.5)
    assert float(gradient_length(maps[0].sum(), maps)) == pytest.approx(6**0.5)


def test_without_gradient_the_length_is_0() -> None:
    trained, frozen = torch.zeros(3, requires_grad=True), torch.zeros(3)
    assert float(gradient_length(trained.sum(), [frozen])) == 0
    assert float(gradient_length(frozen.sum(), [trained])) == 0


def test_small_gradients_of_half_precision_maps_are_not_lost() -> None:
    half = torch.zeros(4, dtype=torch.float16, requires_grad=True)
    # 2e-8 is less than half of the smallest float16.
    assert float(gradient_length(half.float().sum() * 2e-8, [half])) == pytest.approx(4e-8, rel=0.01)


def test_measures_often_at_first_and_then_rarely() -> None:
    assert [step for step in range(130) if GradientBalance.is_due(step)] == [0, 4, 16, 64, 128]


def test_moves_slowly_starts_at_the_first_and_ignores_what_is_not_finite() -> None:
    balance = GradientBalance(["a", "b"])
    maps = [torch.zeros(1, requires_grad=True)]
    factors = []
    for task, a in ((2.0, 0.0), (2.0, 4.0), (2.0, 8.0), (2.0, 0.0), (2.0, float("nan"))):
        balance.measure(task * maps[0].sum(), {"a": a * maps[0].sum()}, maps)
        factors.append(float(balance.factor("a")))
    mean = 4.0**0.8 * 8.0**0.2
    assert factors == pytest.approx([0.0, 0.5, 2 / mean, 2 / mean, 2 / mean])
    assert float(balance.factor("b")) == 0


def test_an_untrained_first_step_soon_has_no_effect() -> None:
    balance = GradientBalance(["a"])
    maps = [torch.zeros(1, requires_grad=True)]
    for length in (1e5, *[1.0] * 8):
        balance.measure(maps[0].sum(), {"a": length * maps[0].sum()}, maps)
    assert float(balance.factor("a")) > 0.1


def gradients(objective: Objective, batch: tuple[StudentTaps, TeacherTaps]) -> tuple[dict[str, float], float]:
    """The length of each weighted loss's gradient on the neck, and of the task loss's."""
    student, teacher = batch
    losses = objective(student, teacher)
    maps = list(student.neck.values())
    lengths = {name: float(gradient_length(loss, maps)) for name, loss in losses.items()}
    return lengths, float(gradient_length(torch.stack(list(student.losses.values())).sum(), maps))


@pytest.mark.parametrize("weights", list(itertools.product((0.3, 1.5), (0.1, 2.0))))
def test_a_gradient_share_is_delivered_as_set(make_taps: MakeTaps, weights: tuple[float, float]) -> None:
    changes = {
        **SHARES,
        "global_knowledge": {"weight": weights[0], "unit": "gradient_share"},
        "local_knowledge": {"weight": weights[1], "unit": "gradient_share"},
    }
    objective = build(changes, num_epochs=4)
    for epoch, decayed in ((1, 1.0), (2, 0.75)):
        objective.begin_epoch(epoch, source(make_taps))
        objective.balance = GradientBalance(["global_knowledge", "local_knowledge", "soft_labels"])
        lengths, task = gradients(objective, make_taps())
        assert lengths["global_knowledge"] / task == pytest.approx(decayed * weights[0], rel=1e-4)
        assert lengths["local_knowledge"] / task == pytest.approx(decayed * weights[1], rel=1e-4)
        metrics = objective.end_epoch()
        assert metrics["share/global_knowledge"] == pytest.approx(decayed * weights[0], rel=1e-4)
        assert metrics["share/local_knowledge"] == pytest.approx(decayed * weights[1], rel=1e-4)
        assert metrics["weight/soft_labels"] == pytest.approx(7 * decayed)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_a_gradient_share_does_not_depend_on_the_scale_of_the_loss(
    make_taps: MakeTaps, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build(SHARES)
    first.begin_epoch(1, source(make_taps))
    expected = {name: float(loss.detach()) for name, loss in first(*make_taps()).items()}
    second = build(SHARES)
    local = second._terms["local_knowledge"]
    monkeypatch.setitem(second._terms, "local_knowledge", Scaled(local, scale))
    second.begin_epoch(1, source(make_taps))
    found = {name: float(loss.detach()) for name, loss in second(*make_taps()).items()}
    assert found == pytest.approx(expected, rel=1e-4)


class Scaled:
    """A term as another code base would normalize it."""

    needs_prototypes = False

    def __init__(self, term: Any, scale: float) -> None:
        self._term, self._scale = term, scale

    def __call__(self, step: Any) -> Tensor:
        loss: Tensor = self._scale * self._term(step)
        return loss


def test_raw_weights_are_measured_and_left_alone(make_taps: MakeTaps) -> None:
    objective = build({"prototypes": {"source": {"kind": "feature_pass"}}})
    objective.begin_epoch(1, source(make_taps))
    lengths, task = gradients(objective, make_taps())
    metrics = objective.end_epoch()
    assert metrics["weight/global_knowledge"] == 5.0
    for name, length in lengths.items():
        assert metrics[f"share/{name}"] == pytest.approx(length / task, rel=1e-4)


def test_averages_are_restored_with_the_state(make_taps: MakeTaps) -> None:
    first, second = build(SHARES), build(SHARES)
    first.begin_epoch(1, source(make_taps))
    first(*make_taps(seed=3))
    second.load_state_dict(first.state_dict())
    losses = []
    for objective in (first, second):
        objective.begin_epoch(2, source(make_taps))
        losses.append({name: float(loss.detach()) for name, loss in objective(*make_taps(seed=4)).items()})
    assert losses[0] == losses[1]


def test_a_unit_without_weight_is_refused() -> None:
    for unit in ("raw", "gradient_share"):
        with pytest.raises(ValueError, match=r"local_knowledge\.weight\tis missing"):
            DistillationSettings.model_validate({"local_knowledge": {"unit": unit}})
