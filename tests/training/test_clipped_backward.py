"""Clipping: of the two parts of the gradient apart, of the task's alone, or of the total; with and without a scaler."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distune.config.experiment import Experiment, without_distillation
from distune.config.load import experiment_from_dict
from distune.config.training import ClippedGradient, TrainingSettings
from distune.errors import ConfigError
from distune.training.clipped_backward import ClippedBackward
from support.experiments import small_experiment, small_values
from support.solo_runs import assert_equal, builder, solo

TASK, TERM = torch.tensor([6.0, 8.0]), torch.tensor([300.0, -400.0])
CLIPPED = {"training": {"gradient_clip_norm": 0.5}}


class Scaler(torch.amp.GradScaler):
    """The scaler of float16 on a device that needs none."""

    def __init__(self, scale: float) -> None:
        super().__init__("cpu", init_scale=scale, enabled=scale != 1.0)


def backward(max_norm: float | None, terms: list[Tensor], *, of: ClippedGradient = "task", scale: float = 1.0) -> Any:
    """The gradient that the optimizer gets, and what was measured, for losses of known gradients."""
    weight, adapter = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight, adapter], lr=1.0)
    scaler = Scaler(scale)
    run = ClippedBackward([weight, adapter], optimizer=optimizer, scaler=scaler, max_norm=max_norm, of=of)
    losses = [(weight * term).sum() + 7 * adapter.sum() for term in terms]
    task = (weight * TASK).sum()
    if run.is_apart:
        run.add_task(task)
        run.add_terms(losses)
    else:
        run.add([task, *losses])
    measured = run.finish()
    scaler.step(optimizer)
    scaler.update()
    return -weight.detach(), -float(adapter.detach()), {name: float(value) for name, value in measured.items()}


@pytest.mark.parametrize("scale", [1.0, 2.0**12])
def test_the_task_is_clipped_and_the_distillation_added(scale: float) -> None:
    gradient, adapter, measured = backward(5.0, [TERM, TERM], scale=scale)
    assert gradient.tolist() == pytest.approx((TASK / 2 + 2 * TERM).tolist(), rel=1e-6)
    assert adapter == 14
    assert measured == pytest.approx({"norm": 10.0, "clipped": 1.0, "distillation_norm": (1000**2 + 14**2) ** 0.5})


@pytest.mark.parametrize("scale", [1.0, 2.0**12])
def test_each_part_is_clipped_to_the_norm(scale: float) -> None:
    gradient, adapter, measured = backward(5.0, [TERM, TERM], of="each", scale=scale)
    distillation_norm = (1000**2 + 14**2) ** 0.5
    assert gradient.tolist() == pytest.approx((TASK / 2 + 2 * TERM * 5 / distillation_norm).tolist(), abs=1e-5)
    assert adapter == pytest.approx(14 * 5 / distillation_norm, rel=1e-5)
    assert measured == pytest.approx(
        {"norm": 10.0, "clipped": 1.0, "distillation_norm": distillation_norm, "distillation_clipped": 1.0}
    )


def test_a_distillation_within_the_norm_stays() -> None:
    gradient, _, measured = backward(600.0, [TERM], of="each")
    assert torch.equal(gradient, TASK + TERM)
    assert (measured["clipped"], measured["distillation_clipped"]) == (0.0, 0.0)


@pytest.mark.parametrize("scale", [1.0, 2.0**12])
def test_a_task_within_the_norm_stays(scale: float) -> None:
    gradient, _, measured = backward(11.0, [TERM], scale=scale)
    assert torch.equal(gradient, TASK + TERM)
    assert (measured["norm"], measured["clipped"]) == (10.0, 0.0)


@pytest.mark.parametrize("scale", [1.0, 2.0**12])
def test_the_total_is_clipped_where_asked(scale: float) -> None:
    gradient, adapter, measured = backward(5.0, [TERM], of="total", scale=scale)
    joint = float(torch.linalg.vector_norm(torch.cat([TASK + TERM, torch.tensor([7.0])])))
    assert gradient.tolist() == pytest.approx(((TASK + TERM) * 5 / joint).tolist(), rel=1e-5)
    assert adapter == pytest.approx(7 * 5 / joint, rel=1e-5)
    assert measured == pytest.approx({"norm": joint, "clipped": 1.0})


@pytest.mark.parametrize("scale", [1.0, 2.0**12])
@pytest.mark.parametrize("of", ["each", "task", "total"])
def test_without_terms_or_without_a_norm_all_are_alike(of: ClippedGradient, scale: float) -> None:
    gradient, _, measured = backward(5.0, [], of=of, scale=scale)
    assert gradient.tolist() == pytest.approx((TASK / 2).tolist(), rel=1e-6)
    assert measured == pytest.approx({"norm": 10.0, "clipped": 1.0})
    gradient, _, measured = backward(None, [TERM], of=of, scale=scale)
    assert torch.equal(gradient, TASK + TERM)
    assert set(measured) == {"norm"}


@pytest.mark.parametrize("of", ["each", "task", "total"])
def test_a_step_that_overflows_is_skipped(of: ClippedGradient) -> None:
    gradient, _, measured = backward(5.0, [torch.tensor([float("inf"), 0.0])], of=of, scale=2.0**12)
    assert gradient.tolist() == [0.0, 0.0]
    gradient, _, _ = backward(5.0, [torch.tensor([float("nan"), 0.0])], of=of, scale=2.0**12)
    assert gradient.tolist() == [0.0, 0.0]
    assert measured["norm"] > 0


@pytest.mark.parametrize("norm", [None, 0.5])
def test_the_setting_changes_distilled_students_that_clip_and_no_other(norm: float | None, tmp_path: Any) -> None:
    def train(name: str, experiment: Experiment) -> dict[str, Tensor]:
        run = solo(builder(experiment), tmp_path / name)
        for _ in range(2):
            report = run.run_epoch()
        assert ("gradient/clipped" in report.metrics) == (norm is not None)
        assert report.metrics["gradient/norm"] > 0
        state: dict[str, Tensor] = run.student.detector.model.state_dict()
        return state

    training = {"gradient_clip_norm": norm}
    settings = [{"training": training | {"gradient_clip_of": of}} for of in ("each", "task", "total")]
    distilled = [train(f"distilled {index}", small_experiment(each)) for index, each in enumerate(settings)]
    for first, second in itertools.combinations(distilled, 2):
        is_same = all(torch.equal(value, second[name]) for name, value in first.items())
        assert is_same == (norm is None)
    controls = [
        train(f"control {index}", Experiment.model_validate(without_distillation(small_values(each))))
        for index, each in enumerate(settings)
    ]
    assert_equal(controls[0], controls[1])
    assert_equal(controls[0], controls[2])


def test_the_measured_share_depends_neither_on_the_scale_nor_on_what_is_clipped(tmp_path: Any) -> None:
    ratios = []
    for number, (of, scale) in enumerate([("total", 1.0), ("each", 1.0), ("each", 2.0**12), ("task", 2.0**12)]):
        one_step = {
            "data": {"num_train": 4},
            "training": {"batch_size": 4, "gradient_clip_of": of, **CLIPPED["training"]},
        }
        student = (run := solo(builder(small_experiment(one_step)), tmp_path / str(number))).student
        student._scaler = student._backward._scaler = Scaler(scale)
        run.run_epoch()
        assert student.objective is not None
        balance = student.objective.balance
        assert balance is not None
        assert float(balance.counts.max()) == 1
        ratios.append(balance.log_ratios)
    for each in ratios[1:]:
        torch.testing.assert_close(each, ratios[0])


@pytest.mark.parametrize("section", ["training", "teacher_training"])
def test_the_setting_is_refused_where_it_has_no_effect(section: str) -> None:
    values = small_values({section: {"gradient_clip_of": "total", "gradient_clip_norm": None}})
    with pytest.raises(ConfigError, match=rf"{section}\.gradient_clip_of = total +has no effect"):
        experiment_from_dict(values, source="x", check_space=False)
    experiment_from_dict(
        values, source="x", check_space=False, saved=True
    )  # of a study, whose trials may vary the norm
    experiment_from_dict(
        small_values({"training": {"gradient_clip_norm": 0.5, "gradient_clip_of": "task"}}), source="x"
    )


def test_a_study_of_an_earlier_version_still_clips_the_total() -> None:
    values = small_values(CLIPPED)
    now = experiment_from_dict(values, source="x", check_space=False).experiment
    before = experiment_from_dict(values, source="x", check_space=False, saved=True).experiment
    assert (now.training.gradient_clip_of, before.training.gradient_clip_of) == ("each", "total")
    again = experiment_from_dict(now.to_dict(), source="x", check_space=False, saved=True).experiment
    assert again == now
    without = experiment_from_dict(small_values(), source="x", check_space=False, saved=True).experiment
    assert without.training.gradient_clip_of == "each"


def test_adamw_clips_by_default_and_sgd_does_not() -> None:
    sgd = {"optimizer": {"kind": "sgd"}}
    assert TrainingSettings().clip_norm == 1.0
    assert TrainingSettings.model_validate(sgd).clip_norm is None
    assert TrainingSettings.model_validate({**sgd, "gradient_clip_norm": 10.0}).clip_norm == 10.0
    assert TrainingSettings(gradient_clip_norm=None).clip_norm is None
    experiment_from_dict(small_values({"training": {"gradient_clip_of": "total"}}), source="x", check_space=False)
    with pytest.raises(ConfigError, match="has no effect without clipping"):
        experiment_from_dict(
            small_values({"training": {**sgd, "gradient_clip_of": "total"}}), source="x", check_space=False
        )
