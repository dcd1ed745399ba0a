"""Settings that change nothing are named in the plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distune.config.experiment import Experiment
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


def decoupled(distillation: dict[str, Any]) -> Experiment:
    """The small experiment with these settings of distillation, of the preset decoupled if they name none."""
    return Experiment.model_validate({**small_values(), "distillation": distillation})


GLOBAL = {"weight": 0.3, "unit": "gradient_share"}


@pytest.mark.parametrize(
    ("distillation", "setting", "switches"),
    [
        (
            {"global_knowledge": {**GLOBAL, "temperature": 0.5}},
            "distillation.global_knowledge.temperature = 0.5",
            ["global_knowledge.form"],
        ),
        (
            {"global_knowledge": {**GLOBAL, "base_size_px": 20.0}},
            "distillation.global_knowledge.base_size_px = 20.0",
            ["global_knowledge.levels"],
        ),
        (
            {"global_knowledge": {**GLOBAL, "background_weight": 0.5}},
            "distillation.global_knowledge.background_weight = 0.5",
            ["global_knowledge.at"],
        ),
        ({"filter": {"global_threshold": 0.3}}, "distillation.filter.global_threshold = 0.3", ["filter.weight"]),
        ({"filter": {"local_threshold": 0.3}}, "distillation.filter.local_threshold = 0.3", ["filter.weight"]),
        (
            {"filter": {"discrepancy": "max_cosine"}},
            "distillation.filter.discrepancy = max_cosine",
            ["filter.weight"],
        ),
        (
            {"prototypes": {"per_class": 5}},
            "distillation.prototypes.per_class = 5",
            ["global_knowledge.weight", "filter.weight"],
        ),
        (
            {"prototypes": {"source": {"kind": "feature_pass"}}},
            "distillation.prototypes.source",
            ["global_knowledge.weight", "filter.weight"],
        ),
        ({"center": "instances"}, "distillation.center = instances", ["global_knowledge.weight", "filter.weight"]),
    ],
)
def test_a_setting_of_distillation_without_effect_is_named_unless_trials_may_use_it(
    distillation: dict[str, Any], setting: str, switches: list[str]
) -> None:
    experiment = decoupled(distillation)
    (line,) = without_effect(experiment, ())
    assert line.startswith(f"warning: {setting} has no effect ")
    for switch in switches:
        assert not without_effect(experiment, {f"distillation.{switch}"})


@pytest.mark.parametrize(
    "distillation",
    [
        {"global_knowledge": {**GLOBAL, "form": "divergence", "temperature": 0.5}},
        {"global_knowledge": {**GLOBAL, "levels": "own", "base_size_px": 20.0}},
        {"global_knowledge": {**GLOBAL, "at": "cells", "background_weight": 0.5}},
        {"global_knowledge": GLOBAL, "prototypes": {"per_class": 5}, "center": "maps"},
        {"global_knowledge": {"temperature": 0.5}},  # the term has no weight
        {"filter": {"weight": "linear", "local_threshold": 0.3}, "prototypes": {"alpha": 1.0}, "center": "instances"},
        {"prototypes": {"min_box_side_px": 4.0}},
        {"preset": "gkd_raw"},
    ],
)
def test_settings_of_distillation_that_are_used_or_follow_the_preset_are_not_named(
    distillation: dict[str, Any],
) -> None:
    assert not without_effect(decoupled(distillation), ())


def test_a_searched_weight_turns_global_knowledge_on() -> None:
    experiment = decoupled({"global_knowledge": {"temperature": 0.5}, "center": "instances"})
    (line,) = without_effect(experiment, {"distillation.global_knowledge.weight"})
    assert "global_knowledge.temperature = 0.5 has no effect with distillation.global_knowledge.form = smooth" in line


def test_a_filter_without_any_term_uses_no_prototypes() -> None:
    off = {name: {"weight": 0.0} for name in ("local_knowledge", "soft_labels")}
    experiment = decoupled({**off, "filter": {"weight": "linear"}, "prototypes": {"per_class": 5}})
    (line,) = without_effect(experiment, ())
    assert "distillation.prototypes.per_class = 5 has no effect because nothing uses prototypes" in line


REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "path",
    [path for folder in ("experiments", "benchmarks/pairs") for path in sorted((REPOSITORY / folder).glob("*.yaml"))],
    ids=lambda path: path.stem,
)
def test_no_setting_of_a_shipped_experiment_is_without_effect(path: Path) -> None:
    weights = {f"{model}.backbone_weights": "weights.pth" for model in ("teacher", "student")}
    loaded = load_experiment(path, overrides=weights if path.parent.name == "pairs" else None)
    assert not without_effect(loaded.experiment, loaded.searched)


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
