"""Groups of trials that can be trained side by side: those that see the same batches and the same teacher."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from distune.config.experiment import Experiment
from distune.config.hashing import content_hash
from distune.config.load import trial_experiment
from distune.config.space import Parameter
from distune.errors import ConfigError
from distune.records import ParameterValue

_MAY_SPLIT = ("data", "teacher", "training", "resources", "student.family", "student.input_size_px")
"""Sections and settings that ``group_identity`` may depend on."""


def group_identity(experiment: Experiment, *, seed: int) -> str:
    """Return a hash of what trials have in common that share batches and the teacher's forward pass."""
    shared = {
        "data": experiment.data.model_dump(mode="json"),
        "teacher": experiment.teacher.model_dump(mode="json"),
        "batch_size": experiment.training.batch_size,
        "precision": experiment.training.precision,
        "half_teacher_maps": experiment.training.half_teacher_maps,
        "loader_workers": experiment.resources.loader_workers,
        "masks": experiment.student.learns_masks,
        "seed": seed,
        "square_px": experiment.student.square_px,
    }
    return content_hash(shared)


def splitting_parameters(
    experiment: Experiment, searched: Mapping[str, Parameter]
) -> dict[str, list[tuple[ParameterValue, ...]]]:
    """Return the searched parameters whose values split trials into groups.

    Args:
        experiment: with its own values.
        searched: path to parameter.

    Returns:
        Path to the values of each group, the bounds of a range. Each parameter is changed alone.
    """
    found: dict[str, list[tuple[ParameterValue, ...]]] = {}
    for path, parameter in searched.items():
        if not any(path == part or path.startswith(f"{part}.") for part in _MAY_SPLIT):
            continue
        groups: dict[str, list[ParameterValue]] = {}
        for value in parameter.extremes:
            with contextlib.suppress(ConfigError):  # it only fits other values of other parameters
                values = trial_experiment(experiment, {path: value})
                groups.setdefault(group_identity(Experiment.model_validate(values), seed=0), []).append(value)
        if len(groups) > 1:
            found[path] = [tuple(values) for values in groups.values()]
    return found
