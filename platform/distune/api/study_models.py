"""Finds the detectors of a study: a student by its trial, the control, the best one, the teacher."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from distune.config.experiment import Experiment
from distune.config.home import Home
from distune.config.load import parse_experiment, trial_experiment
from distune.errors import StudyError
from distune.records import TrialRecord
from distune.study.files.study_folder import StudyFolder
from distune.study.status import StudyStatus, confirmed_trial

if TYPE_CHECKING:
    from distune.detectors.taps import Detector

TEACHER = "teacher"
"""Names the teacher where a trial is asked for."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyModel:
    """A detector of a study.

    Attributes:
        name: key of its trial, such as ``7`` or ``control-1``, or ``teacher``.
        weights: its file, which exists.
        experiment: the settings of its trial; of the study for the teacher.
        record: its trial; None for the teacher.
        seed: the seed that it was trained under; None for the teacher.
        is_confirmed: it is the student that a confirmation has chosen, trained under a fresh seed.
    """

    name: str
    weights: Path
    experiment: Experiment
    record: TrialRecord | None
    seed: int | None
    is_confirmed: bool = False

    @property
    def title(self) -> str:
        """Name for messages: ``trial 7``, ``control-1`` or ``teacher``."""
        return self.name if self.record is None or self.record.control else f"trial {self.name}"

    def classes(self) -> tuple[str, ...]:
        """Read the classes of the file."""
        from distune.training.checkpoint import load

        return tuple((load(self.weights) or {}).get("classes", ()))

    def load(self, classes: tuple[str, ...] | None = None) -> Detector:
        """Build the detector on the CPU.

        Args:
            classes: of the data; those of the file when None. The outputs are in these. A teacher may lack some.

        Returns:
            The detector.

        Raises:
            WeightsError: the file is damaged, or the student lacks classes.
        """
        from distune.training.load_student import load_student

        classes = self.classes() if classes is None else classes
        return load_student(self.weights, self.experiment, classes, may_lack_classes=self.record is None)


def split_student_name(text: str) -> tuple[str, str | None]:
    """Split ``STUDY`` or ``STUDY/TRIAL`` into the name of the study and the trial, None without one."""
    study, slash, trial = text.partition("/")
    return study, trial if slash and trial else None


def find_trial(status: StudyStatus, trial: int | str | None) -> TrialRecord:
    """Return a trial of a study.

    Args:
        status: of the study.
        trial: its number or key, ``control`` for the first control; None is the confirmed trial, else the best one.

    Returns:
        Its record.

    Raises:
        StudyError: there is no such trial, or none has finished.
    """
    if trial is None:
        return confirmed_trial(status)
    key = "control-1" if trial == "control" else str(trial)
    found = next((each for each in status.trials if key == each.key or trial == each.number), None)
    if found is None:
        known = ", ".join([*(each.key for each in status.trials), TEACHER])
        raise StudyError(f"study {status.study}: there is no trial {trial}; known are {known}")
    return found


def find_model(folder: StudyFolder, home: Home, status: StudyStatus, trial: int | str | None) -> StudyModel:
    """Find a detector of a study.

    Args:
        folder: of the study.
        home: holds the teachers.
        status: of the study.
        trial: number or key of a trial, ``control`` for the first control, or ``teacher``; None is the confirmed
            student, before a confirmation that of the best trial.

    Returns:
        The detector's file and settings.

    Raises:
        StudyError: the study is simulated, there is no such trial, it has no student, or the teacher is not ready.
    """
    if status.simulated:
        raise StudyError(f"study {status.study}: there is no detector: it is simulated, so nothing was trained")
    experiment = folder.load().experiment
    if trial == TEACHER:
        return StudyModel(
            name=TEACHER, weights=_teacher_file(folder, home), experiment=experiment, record=None, seed=None
        )
    record = find_trial(status, trial)
    confirmed = status.confirmation if trial is None else None
    file = folder.trial(record.number).best_checkpoint if confirmed is None else folder.path / confirmed.weights
    if not file.is_file():
        raise StudyError(
            f"study {status.study}: trial {record.key} ({record.outcome}) has no student: {file} is missing"
        )
    values = trial_experiment(experiment, record.params, is_control=record.control)
    return StudyModel(
        name=record.key,
        weights=file,
        experiment=parse_experiment(values, source=f"trial {record.key}", saved=True),
        record=record,
        seed=record.seed if confirmed is None else confirmed.best_seed,
        is_confirmed=confirmed is not None,
    )


def _teacher_file(folder: StudyFolder, home: Home) -> Path:
    teacher = folder.teacher()
    if teacher is not None:
        moved = home.teachers / teacher.weights.parent.name / teacher.weights.name
        for file in (teacher.weights, moved):  # a home may have been moved
            if file.is_file():
                return file
    raise StudyError(f"study {folder.name}: its teacher is not ready; distune resume {folder.name} prepares it")
