"""Weights as fractions of the gradient: the measurement, its steps, and the resulting factors."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distune.config.distillation import DistillationSettings
from distune.detectors.taps import StudentTaps, TeacherTaps
from distune.distillation.gradient_balance import (
    GradientBalance,
    RecordedGradients,
    compare,
    neck_gradient,
    recorded_gradients,
    recorded_neck_gradient,
)
from distune.distillation.objective import Objective
from support.objectives import build, source

MakeTaps = Callable[..., tuple[StudentTaps, TeacherTaps]]
SHARES: dict[str, Any] = {
    "global_knowledge": {"weight": 0.3, "unit": "gradient_share"},
    "local_knowledge": {"weight": 2.0, "unit": "gradient_share"},
    "soft_labels": {"weight": 7.0},
    "prototypes": {"source": {"kind": "feature_pass"}},
}

SHARED = ("global_knowledge", "local_knowledge")


def gradient_length(loss: Tensor, maps: Sequence[Tensor]) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(neck_gradient(loss, maps))
    return length


def measure(balance: GradientBalance, task: float, terms: dict[str, float]) -> dict[str, float]:
    """One step with gradients of these lengths, and the factors that it uses."""
    maps = [torch.zeros(1, 1, 1, 1, requires_grad=True)]
    loss = maps[0].sum()
    factors, _ = balance.step(task * loss, {name: length * loss for name, length in terms.items()}, maps)
    return {name: float(factor) for name, factor in factors.items()}


@pytest.fixture
def always_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GradientBalance, "is_due", staticmethod(lambda _: True))


def test_it_is_the_gradient_of_a_linear_layer_after_each_map() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, 3, 4, 5, generator=generator), torch.randn(2, 3, 2, 2, generator=generator)]
    layers = [nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)]
    for layer in layers:
        layer.weight.data = torch.eye(3)[:, :, None, None]
        assert layer.bias is not None
        layer.bias.data.zero_()

    def loss_of(neck: list[Tensor]) -> Tensor:
        return neck[0].sigmoid().square().sum() + 3 * neck[1].tanh()[:, 0].sum()

    torch.autograd.backward(loss_of([layer(each) for layer, each in zip(layers, maps, strict=True)]))
    expected = torch.cat(
        [each.grad.flatten() for layer in layers for each in layer.parameters() if each.grad is not None]
    )
    trained = [each.requires_grad_() for each in maps]
    torch.testing.assert_close(neck_gradient(loss_of(trained), trained), expected)


def test_the_gradient_is_that_of_a_backward_pass_that_was_recorded() -> None:
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(2, 3, 4, 4, generator=generator, requires_grad=True)
    finer = source * 2.0
    coarser = finer.tanh()  # as the coarse levels of a neck that are made from finer ones
    maps = [finer, coarser, source.new_ones(2, 3, 1, 1), source.exp()]  # the last two: frozen, and not in the loss
    loss = finer.square().sum() + coarser[:, 0].sum()
    expected = neck_gradient(loss, maps)
    with recorded_gradients(maps, torch.tensor(64.0)) as recorded:
        torch.autograd.backward(64.0 * loss, retain_graph=True)
    torch.testing.assert_close(recorded_neck_gradient(recorded, maps), expected)
    torch.autograd.backward(1e6 * loss)
    torch.testing.assert_close(recorded_neck_gradient(recorded, maps), expected, msg="a later pass was recorded")
    frozen = maps[2:3]
    with recorded_gradients(frozen, torch.tensor(1.0)) as recorded:
        pass
    assert torch.equal(recorded_neck_gradient(recorded, frozen), neck_gradient(loss, frozen))


def test_gradients_of_cells_add_up() -> None:
    """Small equal gradients of many cells act like one large one; on the maps they would be shorter by its root."""
    maps = [torch.ones(1, 1, 10, 10, requires_grad=True)]
    everywhere, one_cell = maps[0].sum() / 100, maps[0][0, 0, 0, 0]
    assert float(gradient_length(everywhere, maps)) == pytest.approx(float(gradient_length(one_cell, maps)))


def test_without_gradient_the_length_is_0() -> None:
    trained, frozen = torch.zeros(1, 3, 1, 1, requires_grad=True), torch.zeros(1, 3, 1, 1)
    assert float(gradient_length(trained.sum(), [frozen])) == 0
    assert float(gradient_length(frozen.sum(), [trained])) == 0


def test_small_gradients_of_half_precision_maps_are_not_lost() -> None:
    half = torch.zeros(1, 4, 1, 1, dtype=torch.float16, requires_grad=True)
    # 2e-8 is less than half of the smallest float16.
    assert float(gradient_length(half.float().sum() * 2e-8, [half])) == pytest.approx(4e-8, rel=0.01)


def test_the_ratio_and_the_cosine_of_two_gradients() -> None:
    ratio, cosine = compare(torch.tensor([3.0, 4.0]), torch.tensor([2.0, 0.0]))
    assert (float(ratio), float(cosine)) == pytest.approx((2.5, 0.6))
    for term, task in (([0.0, 0.0], [2.0, 0.0]), ([0.0], [2.0, 0.0]), ([3.0, 4.0], [0.0])):
        assert [float(each) for each in compare(torch.tensor(term), torch.tensor(task))] == [0.0, 0.0]
    tiny = torch.full((4,), 1e-15)
    assert [float(each) for each in compare(tiny, -tiny)] == pytest.approx([1.0, -1.0])


def test_measures_often_at_first_and_then_rarely() -> None:
    due = [step for step in range(8192) if GradientBalance.is_due(step)]
    assert due[:130] == [*range(129), 130]
    assert [sum(low <= step < 2 * low for step in due) for low in (128, 256, 512, 1024, 2048, 4096)] == [64] * 6
    assert due[-1] - due[-2] == 64


def test_a_short_training_costs_a_tenth_at_most() -> None:
    """A measurement takes 0.11 to 0.13 of the time of another step of the quickstart, 0.09 with a larger backbone."""
    num_measured = [sum(map(GradientBalance.is_due, range(start, start + 50))) for start in range(0, 300, 50)]
    assert num_measured == [50, 50, 39, 25, 25, 14]
    assert 0.13 * sum(num_measured) / 300 < 0.1


def test_every_epoch_has_a_measurement() -> None:
    balance = GradientBalance(["a"])
    maps = [torch.zeros(1, 1, 1, 1, requires_grad=True)]
    for _ in range(1000):
        balance.begin_epoch()
        for first in (True, False, False):
            _, measured = balance.step(maps[0].sum(), {"a": maps[0].sum()}, maps)
            assert "a" in measured or not first


@pytest.mark.usefixtures("always_due")
def test_it_is_the_mean_at_first_then_a_moving_one_and_ignores_what_is_not_finite() -> None:
    balance = GradientBalance(["a", "b"])
    ratios = (4.0, 2.0, 8.0, 0.0, float("nan"), float("inf"), 16.0, 3.0)
    logs: list[float] = []
    expected = 0.0
    for ratio in ratios:
        measure(balance, 2.0, {"a": 2 * ratio})
        if 0 < ratio < float("inf"):
            logs.append(math.log(ratio))
            expected += (logs[-1] - expected) * max(1 / len(logs), 0.5)
        if len(logs) < 3:
            assert expected == pytest.approx(sum(logs) / len(logs))
        assert float(balance.factor("a")) == pytest.approx(math.exp(-expected))
    assert float(balance.factor("b")) == 0


@pytest.mark.usefixtures("always_due")
def test_a_step_uses_the_measurements_before_it_except_the_first() -> None:
    balance = GradientBalance(["a"])
    used = [measure(balance, 1.0, {"a": length})["a"] for length in (4.0, 1.0, 1.0)]
    assert used == pytest.approx([1 / 4, 1 / 4, 1 / 2])


def test_a_term_without_gradient_waits_for_its_first_one() -> None:
    balance = GradientBalance(["a"])
    assert [measure(balance, 1.0, {"a": length})["a"] for length in (0.0, 5.0, 5.0)] == pytest.approx([0.0, 0.2, 0.2])


def test_a_term_that_starts_later_does_not_remember_the_task_of_before() -> None:
    """The head of a new student sends hardly any gradient back."""
    balance = GradientBalance(["early", "late"])
    for length in (*[1e-5] * 20, *[1.0] * 20):
        measure(balance, length, {"early": 1.0})
    assert measure(balance, 1.0, {"early": 1.0, "late": 2.0})["late"] == pytest.approx(0.5)


def test_an_untrained_first_step_soon_has_no_effect() -> None:
    balance = GradientBalance(["a"])
    for length in (1e5, *[1.0] * 40):
        measure(balance, 1.0, {"a": length})
    assert float(balance.factor("a")) > 0.9


def test_the_state_of_an_earlier_version_is_read() -> None:
    """It held moving means of the two lengths."""
    balance = GradientBalance(["a", "b"])
    measure(balance, 1.0, {"a": 3.0})
    balance.load_state_dict({"task": torch.tensor(2.0), "terms": torch.tensor([8.0, 0.0])})
    assert float(balance.factor("a")) == pytest.approx(1 / 4)
    assert float(balance.factor("b")) == 0
    measure(balance, 1.0, {"b": 5.0})
    assert float(balance.factor("b")) == pytest.approx(1 / 5)
    before_any = {"task": torch.tensor(0.0), "terms": torch.zeros(2)}
    balance.load_state_dict(before_any)
    assert float(balance.factor("a")) == 0
    assert set(before_any) == {"task", "terms"}


def test_the_state_holds_the_steps() -> None:
    first, second = GradientBalance(["a"]), GradientBalance(["a"])
    for step in range(200):
        measure(first, 1.0, {"a": 1.0 + step % 7})
    second.load_state_dict(first.state_dict())
    for balance in (first, second):
        balance.begin_epoch()
    for step in range(100):
        assert measure(first, 1.0, {"a": 1.0 + step % 5}) == measure(second, 1.0, {"a": 1.0 + step % 5})
    assert torch.equal(first.get_extra_state(), second.get_extra_state())
    assert first.get_extra_state().tolist() == [[300], [296]]


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
        assert metrics["share_asked/global_knowledge"] == pytest.approx(decayed * weights[0])
        assert metrics["share_asked/local_knowledge"] == pytest.approx(decayed * weights[1])
        assert "share_asked/soft_labels" not in metrics
        assert metrics["weight/soft_labels"] == pytest.approx(7 * decayed)
        assert all(-1 <= metrics[f"gradient_cosine/{name}"] <= 1 for name in SHARED)


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


def test_a_step_that_overflowed_says_nothing_about_the_share(make_taps: MakeTaps) -> None:
    objective = build({"prototypes": {"source": {"kind": "feature_pass"}}})
    objective.begin_epoch(1, source(make_taps))
    student, teacher = make_taps()
    maps = objective.neck_maps(student)
    infinite = RecordedGradients([torch.full_like(each, torch.inf) for each in maps], torch.tensor(2.0**16))
    objective(student, teacher, infinite)
    metrics = objective.end_epoch()
    assert metrics["loss/local_knowledge"] > 0
    assert not any(name.startswith(("share/", "measured/", "log_share/")) for name in metrics)


def test_gradients_are_recorded_only_on_steps_that_measure() -> None:
    balance = GradientBalance(["a"])
    balance.begin_epoch()
    due = []
    for _ in range(260):
        due.append(balance.is_any_due)
        measure(balance, 1.0, {"a": 2.0})
    assert due == [GradientBalance.is_due(step) for step in range(260)]
    balance.begin_epoch()
    assert balance.is_any_due, "the first step of an epoch is measured"


def test_raw_weights_are_measured_and_left_alone(make_taps: MakeTaps) -> None:
    objective = build({"prototypes": {"source": {"kind": "feature_pass"}}})
    objective.begin_epoch(1, source(make_taps))
    lengths, task = gradients(objective, make_taps())
    metrics = objective.end_epoch()
    assert metrics["weight/global_knowledge"] == 5.0
    for name, length in lengths.items():
        assert metrics[f"share/{name}"] == pytest.approx(length / task, rel=1e-4)


def test_the_delivered_share_is_measured_before_it_is_corrected(make_taps: MakeTaps) -> None:
    objective = build(SHARES)
    objective.begin_epoch(1, source(make_taps))
    batches = [make_taps(seed=seed) for seed in range(5)]
    logs: dict[str, list[float]] = {}
    for batch in batches:
        lengths, task = gradients(objective, batch)
        for name in SHARED:
            logs.setdefault(name, []).append(math.log(lengths[name] / task))
    metrics = objective.end_epoch()
    for name, each in logs.items():
        assert metrics[f"share/{name}"] == pytest.approx(math.exp(sum(each) / len(each)), rel=1e-4)
    assert metrics["share/global_knowledge"] != pytest.approx(0.3, rel=1e-3)


def test_a_term_without_gradient_delivers_0(make_taps: MakeTaps, monkeypatch: pytest.MonkeyPatch) -> None:
    objective = build(SHARES)
    monkeypatch.setitem(objective._terms, "local_knowledge", Scaled(objective._terms["local_knowledge"], 0.0))
    objective.begin_epoch(1, source(make_taps))
    objective(*make_taps())
    metrics = objective.end_epoch()
    assert metrics["share/local_knowledge"] == 0
    assert "gradient_cosine/local_knowledge" not in metrics


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


def test_an_objective_of_an_earlier_version_is_read(make_taps: MakeTaps) -> None:
    first, second = build(SHARES), build(SHARES)
    first.begin_epoch(1, source(make_taps))
    first(*make_taps(seed=3))
    state = first.state_dict()
    former = {name: value for name, value in state.items() if not name.startswith("balance.")}
    former |= {"balance.task": torch.tensor(2.0), "balance.terms": state["balance.log_ratios"].exp() * 2}
    second.load_state_dict(former, strict=True)
    assert first.balance is not None
    assert second.balance is not None
    for name in SHARED:
        assert float(second.balance.factor(name)) == pytest.approx(float(first.balance.factor(name)))


def test_a_unit_without_weight_is_refused() -> None:
    for unit in ("raw", "gradient_share"):
        with pytest.raises(ValueError, match=r"local_knowledge\.weight\tis missing"):
            DistillationSettings.model_validate({"local_knowledge": {"unit": unit}})
