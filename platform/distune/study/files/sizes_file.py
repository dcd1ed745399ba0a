"""The sizes of teacher, control and best student in the folder of a study."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distune.atomic_write import write_atomically
from distune.bounded_read import read_bounded
from distune.config.experiment import Experiment
from distune.config.hashing import content_hash
from distune.config.load import trial_experiment
from distune.errors import ConfigError
from distune.records import ParameterValue
from distune.reports.model_sizes import ModelSizes

_LOG = logging.getLogger(__name__)
_ARCHITECTURE = "architecture"


def architecture_hash(experiment: Experiment, params: Mapping[str, ParameterValue]) -> str | None:
    """Hash the settings of teacher, control and the student of a trial, on which their sizes depend.

    Args:
        experiment: of the study.
        params: searched path to value of the trial.

    Returns:
        The hash; trials whose students have the same architecture share it. None if the values are no longer valid.
    """
    try:
        student = trial_experiment(experiment, params)["student"]
    except ConfigError:  # of an earlier version that allowed these values
        return None
    data = experiment.data
    detectors = (experiment.teacher.model_dump(mode="json"), experiment.student.model_dump(mode="json"), student)
    return content_hash([detectors, data.min_size_px, data.max_size_px])


def read_sizes(file: Path, architecture: str | None) -> ModelSizes | None:
    """Read the sizes of an architecture; None if they have not been measured, or the file is damaged."""
    if not file.is_file():
        return None
    try:
        values: dict[str, Any] = json.loads(read_bounded(file))
        recorded = values.pop(_ARCHITECTURE)
        return ModelSizes.from_dict(values) if recorded == architecture else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        _LOG.warning("%s is damaged and ignored", file)
        return None


def write_sizes(file: Path, architecture: str, sizes: ModelSizes) -> None:
    """Write the sizes of an architecture, instead of earlier ones."""
    write_atomically(file, json.dumps({_ARCHITECTURE: architecture, **sizes.to_dict()}, indent=1).encode())
