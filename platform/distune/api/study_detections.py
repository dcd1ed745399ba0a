"""Detections of a study's detectors on a split, computed once for each file of weights."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from distune.api.study_models import StudyModel
from distune.atomic_write import write_atomically
from distune.evidence.detections import Detections, GroundTruth, read_detections
from distune.study.files.study_folder import StudyFolder

if TYPE_CHECKING:
    from distune.data.dataset import DetectionDataset
    from distune.training.evaluation.predict_and_score import Prediction

MIN_SCORE = 0.01
"""Detections below it are not kept: they do not change a picture or a kind of error."""


def detect(folder: StudyFolder, model: StudyModel, dataset: DetectionDataset, *, fingerprint: str) -> Detections:
    """Return the detections of a detector on a split; those of a file of weights are kept in the study's folder.

    Args:
        folder: of the study; the file is ``report/detections/<hash>.npz``.
        model: to run.
        dataset: the split.
        fingerprint: of the data.

    Returns:
        All detections with a score of at least ``MIN_SCORE``, with the labels of the data.

    Raises:
        WeightsError: the file of weights is damaged.
        DataError: too many images cannot be decoded.
    """
    digest = hashlib.sha256(f"{fingerprint} {dataset.name} ".encode() + model.weights.read_bytes()).hexdigest()[:32]
    file = folder.detections / f"{digest}.npz"
    found = read_detections(file)
    if found is None:
        found = _predict(model, dataset)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, found.to_bytes())
    return found


def ground_truth(dataset: DetectionDataset) -> GroundTruth:
    """Return the boxes of a split."""
    images = [dataset.annotations(index) for index in range(len(dataset))]
    return GroundTruth(
        classes=tuple(dataset.classes),
        num_images=len(images),
        images_N=np.repeat(np.arange(len(images)), [len(image) for image in images]),
        boxes_N4=np.concatenate([np.zeros((0, 4)), *(image.scored_N4 for image in images)]),
        labels_N=np.concatenate([np.zeros(0, np.int64), *(image.labels_N for image in images)]),
        areas_N=np.concatenate([np.zeros(0), *(image.areas_N for image in images)]),
        ignored_N=np.concatenate([np.zeros(0, np.bool_), *(image.ignored_N for image in images)]),
    )


def to_detections(predictions: Sequence[Prediction]) -> Detections:
    """Convert predictions to flat arrays; those below ``MIN_SCORE`` are left out."""
    ordered = sorted(predictions, key=lambda prediction: int(prediction["image_index"]))
    return Detections(
        images_D=np.repeat(
            np.array([int(each["image_index"]) for each in ordered], np.int64),
            [len(each["scores"]) for each in ordered],
        ),
        boxes_D4=np.concatenate([np.zeros((0, 4), np.float32), *(each["boxes"].numpy() for each in ordered)]),
        labels_D=np.concatenate([np.zeros(0, np.int64), *(each["labels"].numpy() for each in ordered)]),
        scores_D=np.concatenate([np.zeros(0, np.float32), *(each["scores"].numpy() for each in ordered)]),
    ).with_score(MIN_SCORE)


def _predict(model: StudyModel, dataset: DetectionDataset) -> Detections:
    from distune.training.evaluation.known_classes import predict_known
    from distune.training.precision import autocast_dtype, pick_device

    device = pick_device(model.experiment.resources.gpus_per_trial)
    detector = model.load(tuple(dataset.classes))
    detector.model.to(device)
    predictions = predict_known(
        detector,
        dataset,
        device=device,
        batch_size=model.experiment.training.batch_size,
        autocast_dtype=autocast_dtype(model.experiment.training.precision, device),
    )
    return to_detections(predictions)
