"""Finds the teacher that a student was distilled from: ``distune confirm --teachers`` trains further ones."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

from distune.api.study_models import TEACHER, StudyModel, find_model
from distune.bounded_read import read_bounded
from distune.config.home import Home
from distune.errors import StudyError
from distune.study.files.recorded_spec import recorded_values
from distune.study.files.study_folder import StudyFolder
from distune.study.status import StudyStatus

_NUMBER = re.compile(r"-teacher-(\d+)")
"""The end of the name of a run of a confirmation; the study's own teacher is the first one and has none."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnTeacher:
    """The teacher of a training that is not the study's.

    Attributes:
        name: such as ``teacher 2``.
        weights: its file, which may be missing.
    """

    name: str
    weights: Path

    @property
    def metrics(self) -> dict[str, float]:
        """Its metrics on the search split; none where they are not recorded."""
        try:
            values = json.loads(read_bounded(self.weights.with_name("teacher.json")))
            return {str(name): float(value) for name, value in values["metrics"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}


def own_teacher(folder: StudyFolder, home: Home, training: Path) -> OwnTeacher | None:
    """Return the teacher of a training; None if it is that of the study, and where none is recorded.

    Args:
        folder: of the study.
        home: holds the teachers.
        training: folder of the training.

    Returns:
        The teacher.

    Raises:
        StudyError: the record of the training is damaged.
    """
    recorded, known = (recorded_values(training) or {}).get("teacher_weights"), folder.teacher()
    if recorded is None or known is None or Path(recorded).parent.name == known.weights.parent.name:
        return None
    number = _NUMBER.search(training.name)
    name = Path(recorded).parent.name
    return OwnTeacher(
        name=f"{TEACHER} {name[:8] if number is None else number[1]}",
        weights=home.teachers / name / Path(recorded).name,
    )


def find_teacher(folder: StudyFolder, home: Home, status: StudyStatus, training: Path | None) -> StudyModel:
    """Find the teacher that a student was distilled from.

    Args:
        folder: of the study.
        home: holds the teachers.
        status: of the study.
        training: folder of the student's training; None for the teacher of the study.

    Returns:
        The teacher.

    Raises:
        StudyError: the study is simulated, the record of the training is damaged, or the teacher is not ready.
    """
    own = None if training is None else own_teacher(folder, home, training)
    if own is None:
        return find_model(folder, home, status, TEACHER)
    if not own.weights.is_file():
        raise StudyError(f"study {status.study}: {own.name} is not ready: {own.weights} is missing")
    experiment = folder.load().experiment
    return StudyModel(name=own.name, weights=own.weights, experiment=experiment, record=None, seed=None)
