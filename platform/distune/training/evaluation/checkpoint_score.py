"""Scores the student of a checkpoint on a split, with the matches of each image."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from distune.config.detector import DetectorSettings
from distune.config.experiment import Experiment
from distune.config.load import parse_experiment
from distune.data.build import build_splits
from distune.detectors.taps import Detector
from distune.detectors.zoo import build_teacher
from distune.errors import DataError, WeightsError
from distune.evidence.matches import MatchTable
from distune.records import TrialSpec
from distune.training import checkpoint
from distune.training.evaluation.matching import match_predictions
from distune.training.evaluation.predict_and_score import predict
from distune.training.precision import autocast_dtype, pick_device
from distune.training.trial_folder import TrialFolder

SplitName = Literal["search", "test"]


def open_student(path: Path, experiment: Experiment, classes: tuple[str, ...]) -> Detector:
    """Build the detector of a distune checkpoint, on the CPU. Raises ``WeightsError``."""
    content = checkpoint.load(path)
    if content is None or "detector" not in content:
        raise WeightsError(f"{path}: missing or not a distune checkpoint; that of a trial is best.pt")
    try:
        settings = TypeAdapter[DetectorSettings](DetectorSettings).validate_python(content["detector"])
    except ValidationError as error:
        raise WeightsError(f"{path}: made by another version of distune: {error}") from None
    return build_teacher(
        settings.with_weights(str(path)),
        classes=classes,
        min_size_px=experiment.data.min_size_px,
        max_size_px=experiment.data.max_size_px,
        needed_by=("the evaluation",),
    )


def measure(spec: TrialSpec, split: SplitName) -> MatchTable:
    """Match the detections of a trial's best student with the ground truth of a split.

    Args:
        spec: of the trial.
        split: ``search`` or ``test``.

    Returns:
        The matches of all images.

    Raises:
        DataError: the experiment has no such split.
        WeightsError: the trial has no ``best.pt``.
    """
    experiment = parse_experiment(spec.experiment, source=f"run {spec.key}")
    splits = build_splits(experiment.data)
    dataset = splits.search if split == "search" else splits.test
    if dataset is None:
        raise DataError(f"{experiment.name}: the experiment has no test split")
    detector = open_student(TrialFolder.of(spec).best_checkpoint, experiment, tuple(splits.classes))
    device = pick_device(experiment.resources.gpus_per_trial)
    detector.model.to(device)
    predictions = predict(
        detector.model,
        dataset,
        device=device,
        batch_size=experiment.training.batch_size,
        autocast_dtype=autocast_dtype(experiment.training.precision, device),
        num_workers=experiment.resources.loader_workers,
    )
    return match_predictions(predictions, dataset)
