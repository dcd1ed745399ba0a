"""The specification that a folder was trained with, compared with another one."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from distune.bounded_read import read_bounded
from distune.config.hashing import content_hash
from distune.config.load import parse_experiment
from distune.config.renamed import upgrade_saved
from distune.errors import ConfigError, StudyError
from distune.records import TrialSpec
from distune.study.files.artifacts import TRIAL_FILE

_DECIDING = ("data", "teacher", "student", "distillation", "training")
"""Sections of an experiment that determine the result of a training."""
_DATA = "data_fingerprint"


def spec_mismatch(folder: Path, spec: TrialSpec) -> str | None:
    """Return how the training in a folder differs from a specification.

    Args:
        folder: may be missing.
        spec: the specification.

    Returns:
        Text such as "under other settings", "under unknown settings" for a folder with other files; None when the
        folder is empty or holds a training of this specification.

    Raises:
        StudyError: the recorded specification is damaged.
    """
    known, asked = recorded_values(folder), vars(spec)
    if known is None:
        return "under unknown settings" if _has_files(folder) else None
    if _identity(known) != _identity(asked):
        return "under other settings"
    if _teacher(known) != _teacher(asked):
        return "with another teacher"
    # Earlier versions did not record the data.
    is_other = None not in (known.get(_DATA), asked[_DATA]) and known[_DATA] != asked[_DATA]
    return "on other data" if is_other else None


def recorded_values(folder: Path) -> dict[str, Any] | None:
    """Return the recorded specification as plain data, None without one. Raises ``StudyError`` when it is damaged."""
    file = folder / TRIAL_FILE
    if not file.is_file():
        return None
    try:
        values: dict[str, Any] = json.loads(read_bounded(file))
    except ValueError as error:
        raise StudyError(f"{file} cannot be read: {error}; remove its folder and run the same command again") from None
    return values


def _identity(spec: dict[str, Any]) -> str:
    experiment = upgrade_saved(spec["experiment"])
    with contextlib.suppress(ConfigError):  # settings that an earlier version did not have get their defaults
        experiment = parse_experiment(experiment, source="a recorded trial", saved=True).to_dict()
    return content_hash([spec["seed"], spec["num_epochs"], {name: experiment[name] for name in _DECIDING}])


def _teacher(spec: dict[str, Any]) -> str | None:
    """Return the hash in the name of the teacher's folder, which does not depend on where that folder is."""
    weights = spec["teacher_weights"]
    return None if weights is None else Path(weights).parent.name


def _has_files(folder: Path) -> bool:
    """Return whether a folder has files, without the temporary ones that a killed process left."""
    return folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir())
