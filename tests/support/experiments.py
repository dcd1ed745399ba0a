"""A small experiment that trains in a second, as plain data."""

from __future__ import annotations

from typing import Any

from distune.config.experiment import Experiment
from distune.config.paths import merge

SMALL: dict[str, Any] = {
    "name": "small",
    "description": "a second of training",
    "data": {
        "kind": "shapes",
        "num_train": 8,
        "num_search": 4,
        "num_test": 2,
        "num_classes": 2,
        "max_objects": 3,
        "image_size_px": 64,
        "min_size_px": 64,
        "max_size_px": 64,
    },
    "teacher": {"family": "retinanet", "backbone": "resnet10_025", "fpn_channels": 24, "anchor_scale": 0.5},
    "teacher_training": {"epochs": 1, "batch_size": 4},
    "student": {"family": "retinanet", "backbone": "resnet10_025", "fpn_channels": 16, "anchor_scale": 0.5},
    "distillation": {"preset": "gkd_global", "prototypes": {"min_box_side_px": 4, "per_class": 2}},
    "training": {"epochs": 3, "batch_size": 4},
    "search": {"space": "loss_weights", "num_trials": 2, "scheduler": {"kind": "asha", "grace_epochs": 1}},
}


def small_values(changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the small experiment with changes, not validated."""
    return merge(SMALL, changes or {})


def small_experiment(changes: dict[str, Any] | None = None) -> Experiment:
    """Return the small experiment with changes."""
    return Experiment.model_validate(small_values(changes))
