"""Scores a student of a study, or its teacher, with the study's own settings."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from distune.api.preparation import open_data
from distune.api.study_models import StudyModel, find_model
from distune.config.experiment import Experiment
from distune.config.home import Home
from distune.errors import DataError
from distune.evidence.confirmation_result import EvaluationRecord
from distune.study.callback import StudyCallback
from distune.study.files.study_folder import StudyFolder
from distune.study.status import StudyStatus

if TYPE_CHECKING:
    from distune.data.splits import Splits

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
    model = find_model(folder, home, status, trial)
    splits = open_data(model.experiment, on_message=callback.on_message)
    dataset = splits.search if split == "search" else splits.test
    if dataset is None:
        raise DataError(f"study {status.study}: the experiment names no test split")
    num_previous = None
    if split == "test":
        num_previous = record_evaluation(folder, model)
    return Evaluation(
        name=model.name,
        weights=model.weights,
        metrics=score_file(model.weights, model.experiment, splits, split=split, may_lack_classes=model.record is None),
        previous_test_evaluations=num_previous,
    )


def record_evaluation(folder: StudyFolder, model: StudyModel) -> int:
    """Record an evaluation of a detector on the test split, before it is done.

    Args:
        folder: of the study.
        model: that is evaluated.

    Returns:
        Number of other evaluations on record.
    """
    evaluation = EvaluationRecord(
        trial=None if model.record is None else model.record.number,
        seeds=() if model.seed is None else (model.seed,),
        metric=None,
    )
    return len(folder.confirmation.record_test_evaluation(evaluation))


def score_file(
    file: Path, experiment: Experiment, splits: Splits, *, split: SplitChoice, may_lack_classes: bool = False
) -> dict[str, float]:
    """Score a checkpoint on a split that the experiment has; see ``evaluate``."""
    from distune.training.evaluation.known_classes import evaluate_known
    from distune.training.load_student import load_student
    from distune.training.precision import autocast_dtype, pick_device

    dataset = splits.search if split == "search" else splits.test
    assert dataset is not None
    device = pick_device(experiment.resources.gpus_per_trial)
    detector = load_student(file, experiment, tuple(splits.classes), may_lack_classes=may_lack_classes)
    detector.model.to(device)
    figures = evaluate_known(
        detector,
        dataset,
        device=device,
        batch_size=experiment.training.batch_size,
        autocast_dtype=autocast_dtype(experiment.training.precision, device),
    )
    return {f"{split}/{name}": value for name, value in figures.items()}
