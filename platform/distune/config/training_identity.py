"""The settings of a training that identify it, for content hashes that earlier versions have made.

A setting that a later version added is left out while it has its default, under which the training is as before: a
teacher that took days to train is found again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distune.config.paths import get_path, without_path
from distune.config.training import EmaSettings

_ADDED: dict[str, Any] = {
    "accumulate_batches": 1,
    "half_teacher_maps": False,
    "optimizer.norm_weight_decay": None,
    "optimizer.bias_weight_decay": None,
    "optimizer.backbone_learning_rate_factor": 1.0,
}
"""Path to the default of each setting of a training that version 0.1 did not have."""

_ADDED_ELSEWHERE: dict[str, Any] = {
    "data.augmentation.photometric_distortion": 0.0,
    "data.augmentation.zoom_out": 0.0,
    "data.augmentation.iou_crop": False,
    "data.augmentation.min_sizes_px": None,
    "data.augmentation.scale_jitter": None,
    "data.augmentation.crop_size_px": None,
    "data.augmentation.copies": None,
    "data.aspect_ratio_group_factor": None,
    "data.repeat_threshold": None,
    "data.keep_empty_images": True,
    "data.train_share": 1.0,
}
"""The same of an experiment, without its trainings."""
_WITHOUT_EFFECT = ("resources.teacher_cache",)


def training_identity(training: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a training without those that have no effect and that earlier versions did not have.

    Args:
        training: all settings of ``training`` or ``teacher_training``, as plain data.

    Returns:
        The settings, for ``content_hash``.
    """
    values = dict(training)
    for path, default in _ADDED.items():
        if _has(values, path, default):
            values = without_path(values, path)
    if values["ema"]["decay"] == EmaSettings().decay:
        values = without_path(values, "ema")
    return values


def experiment_identity(experiment: Mapping[str, Any]) -> dict[str, Any]:
    """Return an experiment without the settings that have no effect and that earlier versions did not have.

    Args:
        experiment: all settings, as plain data.

    Returns:
        The settings, for ``content_hash``.
    """
    values = dict(experiment)
    for path, default in _ADDED_ELSEWHERE.items():
        if _has(values, path, default):
            values = without_path(values, path)
    for path in _WITHOUT_EFFECT:
        values = without_path(values, path)
    sections = {name: values[name] for name in ("training", "teacher_training") if values[name] is not None}
    return {**values, **{name: training_identity(each) for name, each in sections.items()}}


def _has(values: Mapping[str, Any], path: str, value: Any) -> bool:
    """Return whether there is this value at a path."""
    try:
        return bool(get_path(values, path) == value)
    except KeyError:  # a setting of other kinds of data
        return False
