"""The time of a study from seconds per image: the arithmetic."""

from __future__ import annotations

import pytest

from distune.study.planning.dry_run_plan import ImageSeconds, describe_image_seconds, plan_dry_run
from distune.study.planning.study_plan import plan_study
from support.experiments import small_experiment

CPU = ImageSeconds(where="this CPU", control=2.0, distilled=3.0, teacher=4.0, evaluate=1.0)


def test_all_trials_controls_and_the_teacher_are_counted() -> None:
    experiment = small_experiment({"search": {"num_trials": 2, "scheduler": {"kind": "none"}, "controls": 1}})
    plan = plan_dry_run(CPU, plan_study(experiment), num_train_images=10, num_search_images=5, teacher_epochs=2)
    control, trial = 3 * (10 * 2 + 5), 3 * (10 * 3 + 5)
    assert (plan.control_s, plan.trial_s, plan.teacher_s) == (control, trial, 2 * (10 * 4 + 5))
    assert plan.study_s == 2 * trial + control + plan.teacher_s
    assert plan.confirm_s == 5 * (control + trial)
    assert not plan.is_maximum


def test_another_device_keeps_the_ratios() -> None:
    scaled = CPU.scaled_to(0.1, "one V100")
    assert scaled.where == "one V100"
    assert (scaled.control, scaled.distilled, scaled.teacher, scaled.evaluate) == pytest.approx((0.1, 0.15, 0.2, 0.05))
    assert "distilled 0.15 s (1.50 times)" in describe_image_seconds(scaled)


def test_a_teacher_that_is_ready_costs_nothing() -> None:
    seconds = ImageSeconds(where="this CPU", control=2.0, distilled=3.0, teacher=None, evaluate=1.0)
    plan = plan_dry_run(
        seconds, plan_study(small_experiment()), num_train_images=10, num_search_images=5, teacher_epochs=0
    )
    assert plan.teacher_s == 0
    assert "teacher" not in plan.describe()
    assert "teacher" not in describe_image_seconds(seconds)
