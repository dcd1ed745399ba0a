"""Scores a student of a study, or its teacher, with the study's own settings."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from distune.api.preparation import open_data
from distune.config.experiment import Experiment
from distune.config.home import Home
from distune.config.load import parse_experiment, trial_experiment
from distune.errors import DataError, StudyError
from distune.evidence.confirmation_result import EvaluationRecord
from distune.records import TrialRecord
from distune.study.callback import StudyCallback
from distune.study.files.study_folder import StudyFolder
from distune.study.status import StudyStatus, confirmed_trial

if TYPE_CHECKING:
    from distune.data.splits import Splits

TEACHER = "teacher"
"""Names the teacher where a trial is asked for."""
SplitChoice = Literal["search", "test"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The scores of a student of a study, or of its teacher.

    Attributes:
        name: key of the trial, such as ``7`` or ``control-1``, or ``teacher``.
        weights: the file that was scored.
        metrics: metric to value, such as ``{"test/AP": 31.4}``, in points from 0 to 100.
        previous_test_evaluations: other evaluations of the study on the test split; None for the search split.
    """

    name: str
    weights: Path
    metrics: dict[str, float]
    previous_test_evaluations: int | None


def evaluate_student(
    folder: StudyFolder,
    home: Home,
    status: StudyStatus,
    trial: int | str | None,
    *,
    split: SplitChoice,
    callback: StudyCallback,
) -> Evaluation:
    """Score a student of a study. An evaluation on the test split is recorded before it is done.

    Args:
        folder: of the study.
        home: holds the teacher.
        status: of the study.
        trial: number or key of a trial, ``control`` for the first control, or ``teacher``; None is the confirmed trial,
            before a confirmation the best one.
        split: the split to score on.
        callback: receives the messages about the data.

    Returns:
        The scores.

    Raises:
        StudyError: there is no such trial, it has no student, or the teacher is not ready.
        DataError: the experiment names no test split, or its data is damaged.
    """
    if status.simulated:
        raise StudyError(f"study {status.study}: there is no student to score: it is simulated, nothing was trained")
    experiment = folder.load().experiment
    record = None if trial == TEACHER else find_trial(status, trial)
    weights = None if record is None else _weights_of(folder, status, record, is_default=trial is None)
    if record is not None:
        values = trial_experiment(experiment, record.params, is_control=record.control)
        experiment = parse_experiment(values, source=f"trial {record.key}", saved=True)
    splits = open_data(experiment, on_message=callback.on_message)
    if weights is None:
        weights = _teacher_of(status, experiment, splits, home)
    dataset = splits.search if split == "search" else splits.test
    if dataset is None:
        raise DataError(f"study {status.study}: the experiment names no test split")
    num_previous = None
    if split == "test":
        seeds = () if record is None else (_seed_of(status, record, is_default=trial is None),)
        number = None if record is None else record.number
        evaluation = EvaluationRecord(trial=number, seeds=seeds, metric=None)
        num_previous = len(folder.confirmation.record_test_evaluation(evaluation))
    return Evaluation(
        name=TEACHER if record is None else record.key,
        weights=weights,
        metrics=score_file(weights, experiment, splits, split=split),
        previous_test_evaluations=num_previous,
    )


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


def score_file(file: Path, experiment: Experiment, splits: Splits, *, split: SplitChoice) -> dict[str, float]:
    """Score a checkpoint on a split that the experiment has; see ``evaluate``."""
    from distune.training.evaluation.known_classes import evaluate_known
    from distune.training.load_student import load_student
    from distune.training.precision import autocast_dtype, pick_device

    dataset = splits.search if split == "search" else splits.test
    assert dataset is not None
    device = pick_device(experiment.resources.gpus_per_trial)
    detector = load_student(file, experiment, tuple(splits.classes))
    detector.model.to(device)
    figures = evaluate_known(
        detector,
        dataset,
        device=device,
        batch_size=experiment.training.batch_size,
        autocast_dtype=autocast_dtype(experiment.training.precision, device),
    )
    return {f"{split}/{name}": value for name, value in figures.items()}


def _weights_of(folder: StudyFolder, status: StudyStatus, record: TrialRecord, *, is_default: bool) -> Path:
    result = status.confirmation if is_default else None
    file = folder.trial(record.number).best_checkpoint if result is None else folder.path / result.weights
    if not file.is_file():
        raise StudyError(
            f"study {status.study}: trial {record.key} ({record.outcome}) has no student to score: {file} is missing"
        )
    return file


def _seed_of(status: StudyStatus, record: TrialRecord, *, is_default: bool) -> int:
    return status.confirmation.best_seed if is_default and status.confirmation is not None else record.seed


def _teacher_of(status: StudyStatus, experiment: Experiment, splits: Splits, home: Home) -> Path:
    from distune.training.teacher import load_teacher

    teacher = load_teacher(experiment, splits, home=home)
    if teacher is None:
        raise StudyError(f"study {status.study}: its teacher is not ready; distune resume {status.study} prepares it")
    return teacher.weights
