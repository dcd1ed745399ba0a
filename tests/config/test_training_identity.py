"""Content hashes of earlier versions stay valid: a new setting counts when it has an effect."""

from __future__ import annotations

from typing import Any

import pytest

from distune.config.experiment import Experiment
from distune.config.paths import merge
from distune.config.training import TrainingSettings
from distune.config.training_identity import experiment_identity, training_identity
from support.experiments import small_experiment, small_values

OLD = {"epochs", "batch_size", "optimizer", "schedule", "gradient_clip_norm", "gradient_clip_of", "precision", "seed"}


def of(changes: dict[str, Any]) -> dict[str, Any]:
    values = merge(TrainingSettings().model_dump(), changes)
    return training_identity(TrainingSettings.model_validate(values).model_dump())


def test_with_the_defaults_there_are_the_settings_of_version_0_1() -> None:
    found = of({})
    assert set(found) == OLD
    assert set(found["optimizer"]) == {"kind", "learning_rate", "weight_decay"}
    assert set(of({"optimizer": {"kind": "sgd"}})["optimizer"]) == {"kind", "learning_rate", "momentum", "weight_decay"}
    assert of({"ema": {"every_steps": 32}}) == found, "without a decay there is no average"


@pytest.mark.parametrize(
    "changes",
    [
        {"ema": {"decay": 0.9}},
        {"accumulate_batches": 2},
        {"optimizer": {"norm_weight_decay": 0.0}},
        {"optimizer": {"bias_weight_decay": 0.0}},
        {"optimizer": {"backbone_learning_rate_factor": 0.5}},
    ],
)
def test_a_setting_with_an_effect_counts(changes: dict[str, Any]) -> None:
    assert of(changes) != of({})


def test_both_trainings_of_an_experiment_are_reduced() -> None:
    found = experiment_identity(small_experiment().to_dict())
    assert set(found["training"]) == set(found["teacher_training"]) == OLD
    given = small_experiment({"teacher_training": None, "teacher": {"weights": "file.pt"}}).to_dict()
    assert experiment_identity(given)["teacher_training"] is None


DATA_OF_VERSION_0_1 = {
    *("kind", "min_size_px", "max_size_px", "augmentation", "root", "classes", "search_share", "test_share"),
    *("split_seed", "train_set", "search_set", "test_set", "images", "annotations"),
}


@pytest.mark.parametrize(
    "changes",
    [
        {"augmentation": {"zoom_out": 0.5}},
        {"augmentation": {"copies": 2}},
        {"aspect_ratio_group_factor": 3},
        {"keep_empty_images": False},
        {"train_share": 0.5},
    ],
)
def test_the_data_are_reduced_to_what_has_an_effect(changes: dict[str, Any]) -> None:
    voc = {**small_values(), "data": {"kind": "voc", "root": "VOC"}}
    found = experiment_identity(Experiment.model_validate(voc).to_dict())
    assert set(found["data"]) == DATA_OF_VERSION_0_1
    assert set(found["data"]["augmentation"]) == {"horizontal_flip", "vertical_flip", "color_jitter"}
    assert "teacher_cache" not in found["resources"]
    changed = experiment_identity(Experiment.model_validate(merge(voc, {"data": changes})).to_dict())
    assert changed["data"] != found["data"]
