"""Runs the detectors of a study on its search split, and measures what they detect."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import torch

from distune.api.preparation import OnMessage
from distune.api.study_detections import detect, ground_truth
from distune.api.study_models import TEACHER, StudyModel
from distune.data.dataset import DetectionDataset, Subset
from distune.data.splits import Splits
from distune.errors import StudyError
from distune.evidence.average_precision import score_of
from distune.evidence.detections import Detections, GroundTruth
from distune.evidence.error_kinds import find_errors
from distune.evidence.label_confusion import count_labels
from distune.evidence.matches import MatchTable
from distune.evidence.score_differences import ScoreDifference, score_differences
from distune.explanation.explanation import ExplanationTable
from distune.explanation.gain_tables import gain_tables
from distune.explanation.study_evidence import SplitEvidence
from distune.study.files.study_folder import StudyFolder
from distune.training.evaluation.matching import match_predictions
from distune.training.evaluation.predict_and_score import metric_names

MAX_TRAIN_IMAGES = 200
"""Training images that the student is scored on: enough to tell overfitting, at the cost of one evaluation."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitMeasurement:
    """Measurements of the detectors of a study on the search split.

    Attributes:
        student_lead: the student minus the control, by metric.
        teacher_lead: the teacher minus the control, on the classes that it knows; empty without a teacher.
        shared: AP of the student minus that of the control on the classes that the teacher knows; None where it knows
            all of them or there is no teacher.
        tables: of errors and objects.
        evidence: for the checks.
    """

    student_lead: dict[str, ScoreDifference]
    teacher_lead: dict[str, ScoreDifference]
    shared: ScoreDifference | None
    tables: list[ExplanationTable]
    evidence: SplitEvidence


def measure_split(
    folder: StudyFolder, models: Mapping[str, StudyModel], splits: Splits, *, on_message: OnMessage
) -> SplitMeasurement:
    """Measure the detectors. Detections are kept in the study's folder.

    Args:
        folder: of the study.
        models: ``student``, ``control``, and ``teacher`` if its weights exist.
        splits: the data.
        on_message: receives a line before the detectors run.

    Returns:
        The measurements.

    Raises:
        WeightsError: a file of weights is damaged.
        DataError: too many images cannot be decoded.
        StudyError: the split has no box that counts.
    """
    on_message(f"detecting on the {len(splits.search)} images of the search split: {', '.join(models)}")
    truth = ground_truth(splits.search)
    if not np.any(~truth.ignored_N):
        raise StudyError("the search split has no box that counts")
    found = {
        role: detect(folder, model, splits.search, fingerprint=splits.fingerprint) for role, model in models.items()
    }
    tables = {role: match_table(each, splits.search) for role, each in found.items()}
    classes = [name.removeprefix("AP/") for name in metric_names(truth.classes)]
    teacher = found.get(TEACHER)
    known = None if teacher is None else _known_classes(models[TEACHER], truth, classes)
    unknown = [] if known is None else [name for name in classes if name not in known]
    student, control = tables["student"], tables["control"]
    errors = {role: find_errors(each, truth) for role, each in found.items()}
    return SplitMeasurement(
        student_lead=score_differences(student, control, classes),
        teacher_lead={} if teacher is None else score_differences(tables[TEACHER], control, classes, known=known),
        shared=score_differences(student, control, classes, known=known).get("AP") if unknown else None,
        tables=gain_tables(errors["student"], errors["control"], errors.get(TEACHER), truth.classes, unknown),
        evidence=SplitEvidence(
            num_images=truth.num_images_with_boxes,
            boxes=_boxes_by_class(truth),
            teacher_labels={} if teacher is None else _teacher_labels(teacher, truth, known, classes),
            train_score=_train_score(folder, models["student"], splits, on_message=on_message),
            search_score=score_of(student, "AP"),
        ),
    )


def match_table(detections: Detections, dataset: DetectionDataset) -> MatchTable:
    """Match kept detections with the ground truth.

    Args:
        detections: of a detector.
        dataset: the split.

    Returns:
        The matches of all images.
    """
    predictions = []
    for index in range(len(dataset)):
        own = detections.of_image(index)
        predictions.append(
            {
                "boxes": torch.from_numpy(own.boxes_D4.copy()),
                "labels": torch.from_numpy(own.labels_D.copy()),
                "scores": torch.from_numpy(own.scores_D.copy()),
                "image_index": torch.tensor(index),
            }
        )
    return match_predictions(predictions, dataset)


def _train_score(folder: StudyFolder, student: StudyModel, splits: Splits, *, on_message: OnMessage) -> float | None:
    """Return the AP of the student on evenly spaced training images; None if no box of them counts."""
    count = min(MAX_TRAIN_IMAGES, len(splits.train))
    chosen = np.linspace(0, len(splits.train) - 1, count).round().astype(int).tolist()
    dataset = Subset(splits.train, chosen, name=f"train-{count}")
    on_message(f"detecting on {count} training images: student")
    table = match_table(detect(folder, student, dataset, fingerprint=splits.fingerprint), dataset)
    try:
        return score_of(table, "AP")
    except StudyError:
        return None


def _known_classes(teacher: StudyModel, truth: GroundTruth, classes: list[str]) -> list[str]:
    """Return the classes of the data that the teacher knows, as metrics name them."""
    from distune.detectors.classes import class_table

    table = class_table(teacher.load(truth.classes))
    known = truth.classes if table is None else table.known
    return [shown for name, shown in zip(truth.classes, classes, strict=True) if name in known]


def _boxes_by_class(truth: GroundTruth) -> dict[str, int]:
    counts = np.bincount(truth.labels_N[~truth.ignored_N], minlength=1 + len(truth.classes))
    return {name: int(counts[label]) for label, name in enumerate(truth.classes, start=1)}


def _teacher_labels(
    detections: Detections, truth: GroundTruth, known: list[str] | None, classes: list[str]
) -> dict[str, dict[str, int]]:
    """Return true class to the teacher's labels, of the classes that it knows."""
    counts_CL = count_labels(detections, truth)
    names = ("", *truth.classes)
    return {
        name: {names[label]: int(number) for label, number in enumerate(row_L) if number}
        for name, shown, row_L in zip(truth.classes, classes, counts_CL, strict=True)
        if known is None or shown in known
    }
