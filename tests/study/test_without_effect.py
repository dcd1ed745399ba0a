"""Settings that change nothing are named in the plan."""

from __future__ import annotations

from typing import Any

import pytest

from distune.config.load import load_experiment
from distune.config.training import TrainingSettings
from distune.study.planning.plan_text import describe_plan
from distune.study.planning.without_effect import too_few_steps, without_effect
from support.experiments import small_experiment, small_values


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"training": {"ema": {"every_steps": 32}}}, "training.ema has no effect with training.ema.decay = 0"),
        ({"teacher_training": {"ema": {"warmup_steps": 10}}}, "teacher_training.ema has no effect"),
        ({"teacher_training": {"half_teacher_maps": True}}, "teacher_training.half_teacher_maps has no effect"),
        ({"training": {"half_teacher_maps": True}}, "saves nothing without data.augmentation.copies"),
        ({"resources": {"teacher_cache": {"memory_gb": 2}}}, "resources.teacher_cache has no effect"),
        ({"data": {"augmentation": {"copies": 99}}}, "data.augmentation.copies = 99 has no effect"),
    ],
)
def test_a_setting_without_effect_is_named(changes: dict[str, Any], expected: str) -> None:
    (line,) = without_effect(small_experiment(changes), ())
    assert line.startswith("warning: ")
    assert expected in line


def test_nothing_is_said_where_there_is_an_effect() -> None:
    assert not without_effect(small_experiment(), ())
    assert not without_effect(load_experiment("coco_ten_percent").experiment, ())  # no training of a teacher
    assert not without_effect(small_experiment({"training": {"ema": {"every_steps": 2}}}), {"training.ema.decay"})
    changes = {"data": {"augmentation": {"copies": 1}}, "resources": {"teacher_cache": {"memory_gb": 2}}}
    assert not without_effect(small_experiment({**changes, "training": {"epochs": 2}}), ())


def test_the_plan_has_these_lines() -> None:
    changes = {"resources": {"cohort": 1, "gpus_per_trial": 0, "teacher_cache": {"disk_gb": 5}}}
    assert "warning: resources.teacher_cache has no effect" in "\n".join(
        describe_plan(load_experiment(small_values(changes)), is_local=True)
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, None),
        ({"accumulate_batches": 13}, "more than the 12 batches of an epoch"),
        ({"schedule": {"kind": "multi_step", "milestones": [0.5], "warmup_steps": 60}}, "before the first milestone"),
        ({"schedule": {"kind": "multi_step", "milestones": [0.5], "warmup_steps": 59}}, None),
        ({"ema": {"decay": 0.999}}, "averages about 1000 steps, but all 10 epochs have 120 optimizer steps"),
        ({"ema": {"decay": 0.9}}, None),
    ],
)
def test_more_steps_than_a_training_has_are_named(changes: dict[str, Any], expected: str | None) -> None:
    training = TrainingSettings.model_validate({"epochs": 10, "batch_size": 8, **changes})
    lines = too_few_steps(training, num_images=100)
    assert (not lines) if expected is None else expected in lines[0]
