"""Several batches in an optimizer step: mean gradients, clipped once, and schedules that count optimizer steps."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from distune.config.training import ClippedGradient
from distune.training.clipped_backward import ClippedBackward
from support.small_students import images, parts_of, student, train
from support.solo_runs import assert_equal

TASKS = (torch.tensor([6.0, 0.0]), torch.tensor([0.0, 8.0]), torch.tensor([12.0, 16.0]))
TERMS = (torch.tensor([30.0, -40.0]), torch.tensor([90.0, -120.0]), None)
MEAN_TASK = torch.tensor([6.0, 8.0])
MEAN_TERM = torch.tensor([40.0, -160 / 3])


def backward(max_norm: float | None, of: ClippedGradient, *, scale: float) -> tuple[Tensor, dict[str, float]]:
    """The gradient that the optimizer gets for three batches of known gradients, the last without distillation."""
    weight = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, enabled=scale != 1.0)
    run = ClippedBackward([weight], optimizer=optimizer, scaler=scaler, max_norm=max_norm, of=of)
    run.reset()
    for task, term in zip(TASKS, TERMS, strict=True):
        terms = [] if term is None else [(weight * term).sum()]
        if run.is_apart:
            run.add_task((weight * task).sum())
            run.add_terms(terms)
        else:
            run.add([(weight * task).sum(), *terms])
    assert run.num_batches == 3
    measured = run.finish()
    assert run.num_batches == 0
    scaler.step(optimizer)
    scaler.update()
    return -weight.detach(), {name: float(value) for name, value in measured.items()}


@pytest.mark.parametrize("scale", [1.0, 2.0**12])
@pytest.mark.parametrize("of", ["each", "task", "total"])
def test_the_mean_gradients_are_clipped_once(of: ClippedGradient, scale: float) -> None:
    gradient, measured = backward(5.0, of, scale=scale)
    joint = MEAN_TASK + MEAN_TERM
    parts = {
        "each": (MEAN_TASK / 2 + MEAN_TERM * 5 / MEAN_TERM.norm(), {"distillation_norm": 200 / 3}),
        "task": (MEAN_TASK / 2 + MEAN_TERM, {"distillation_norm": 200 / 3}),
        "total": (joint * 5 / joint.norm(), {}),
    }
    expected, more = parts[of]
    assert gradient.tolist() == pytest.approx(expected.tolist(), rel=1e-5, abs=1e-5)
    assert measured["norm"] == pytest.approx(10.0 if of != "total" else float(joint.norm()), rel=1e-5)
    assert measured["clipped"] == 1.0
    assert {name: value for name, value in measured.items() if name == "distillation_norm"} == pytest.approx(more)


@pytest.mark.parametrize("of", ["each", "task", "total"])
def test_without_distillation_the_scale_is_removed(of: ClippedGradient) -> None:
    weight = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    run = ClippedBackward([weight], optimizer=optimizer, scaler=scaler, max_norm=5.0, of=of)
    run.add([(weight * MEAN_TASK).sum()])
    run.finish()
    assert weight.grad is not None
    assert weight.grad.tolist() == pytest.approx((MEAN_TASK / 2).tolist(), rel=1e-5)


@pytest.mark.parametrize("scale", [1.0, 2.0**12])
def test_without_clipping_the_step_is_the_mean(scale: float) -> None:
    gradient, measured = backward(None, "each", scale=scale)
    assert gradient.tolist() == pytest.approx((MEAN_TASK + MEAN_TERM).tolist(), rel=1e-5)
    assert measured == pytest.approx({"norm": float((MEAN_TASK + MEAN_TERM).norm())}, rel=1e-5)


def largest_difference(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    return max(float((value - second[name]).abs().max()) for name, value in first.items())


def test_batches_of_a_retinanet_with_group_norm_equal_one_larger_batch() -> None:
    """Its loss is a mean over images. Images have one size, so that no batch pads them differently."""
    batch = images(8)
    one = train(student("retinanet", batches=2, norm="group"), parts_of(batch, 4))
    several = train(
        student("retinanet", batches=4, norm="group", changes={"accumulate_batches": 2}), parts_of(batch, 2)
    )
    each_alone = train(student("retinanet", batches=4, norm="group"), parts_of(batch, 2))
    assert largest_difference(one, several) < 1e-6
    assert largest_difference(one, each_alone) > 1e-4


def test_the_last_step_of_an_epoch_has_the_batches_that_are_left() -> None:
    batches = parts_of(images(6), 2)
    changes = {"accumulate_batches": 2, "ema": {"decay": 0.5}}
    each = student("retinanet", batches=3, changes=changes, norm="group")
    train(each, batches)
    assert each.state_dict()["schedule"]["last_epoch"] == 2
    assert each.state_dict()["ema_steps"] == 2
    before = {name: value.clone() for name, value in each.detector.model.state_dict().items()}
    alone = student("retinanet", batches=1, norm="group")
    alone.load_state_dict(copy.deepcopy(each.state_dict()))  # torch's optimizers would share what they load
    again = student("retinanet", batches=3, changes=changes, norm="group")
    again.load_state_dict(copy.deepcopy(each.state_dict()))
    after = [train(alone, batches[:1]), train(again, batches[:1])]
    assert_equal(after[0], after[1])  # a step with a single batch that is left is a step of that batch
    assert largest_difference(before, after[0]) > 0


def test_an_epoch_takes_no_gradient_over_from_another() -> None:
    batches = parts_of(images(4), 2)
    each = student("retinanet", batches=2, changes={"accumulate_batches": 2}, norm="group")
    start = each.state_dict()
    fresh = student("retinanet", batches=2, changes={"accumulate_batches": 2}, norm="group")
    fresh.load_state_dict(start)
    each.begin_epoch(lambda _: iter(()))
    each.step(batches[0], None)  # and then the epoch is broken off
    each.load_state_dict(fresh.state_dict())
    assert_equal(train(each, batches), train(fresh, batches))
