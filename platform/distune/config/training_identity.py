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
"""Path to the default of each setting that version 0.1 did not have."""


def training_identity(training: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a training without those that have no effect and that earlier versions did not have.

    Args:
        training: all settings of ``training`` or ``teacher_training``, as plain data.

    Returns:
        The settings, for ``content_hash``.
    """
    values = dict(training)
    for path, default in _ADDED.items():
        if get_path(values, path) == default:
            values = without_path(values, path)
    if values["ema"]["decay"] == EmaSettings().decay:
        values = without_path(values, "ema")
    return values


def experiment_identity(experiment: Mapping[str, Any]) -> dict[str, Any]:
    """Return an experiment, as plain data, with the ``training_identity`` of both of its trainings."""
    sections = {name: experiment[name] for name in ("training", "teacher_training") if experiment[name] is not None}
    return {**experiment, **{name: training_identity(values) for name, values in sections.items()}}
