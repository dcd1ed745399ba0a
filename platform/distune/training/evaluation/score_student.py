"""Scores the student of a trial on a split, image by image."""

from __future__ import annotations

from typing import Literal

from distune.config.load import parse_experiment
from distune.data.build import build_splits
from distune.errors import DataError
from distune.evidence.matches import MatchTable
from distune.records import TrialSpec
from distune.training.evaluation.matching import match_predictions
from distune.training.evaluation.predict_and_score import predict
from distune.training.load_student import load_student
from distune.training.precision import autocast_dtype, pick_device
from distune.training.trial_folder import TrialFolder

SplitName = Literal["search", "test"]


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
    detector = load_student(TrialFolder.of(spec).best_checkpoint, experiment, tuple(splits.classes))
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
