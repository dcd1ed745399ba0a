"""The hash of a teacher, under which its folder is found again.

Users keep teachers that took days to train: a renamed setting must not change the hash.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from distune.config.experiment import Experiment
from distune.config.hashing import content_hash
from distune.config.pretrained import is_torchvision_name
from distune.config.training_identity import training_identity
from distune.data.segmentations_hash import segmentations_hash
from distune.errors import WeightsError

_WITHOUT_EFFECT = {"gradient_clip_of", "half_teacher_maps"}
"""Settings of training that only concern distillation."""
_FIRST_AUGMENTATION = {"horizontal_flip", "vertical_flip", "color_jitter"}
"""Augmentation that every hash covers; settings that were added later count where they are not the default."""
_BATCHES = {"aspect_ratio_group_factor", "repeat_threshold"}
"""Settings of the batches, likewise."""
_OF_STUDENTS = {"copies"}
"""Settings of augmentation that only concern the training of students."""


def teacher_hash(experiment: Experiment, fingerprint: str) -> str:
    """Hash everything that determines a teacher: detector, training, image sizes, augmentation and data.

    Args:
        experiment: names the teacher.
        fingerprint: of the data. It does not cover segmentations, which are read where the teacher is trained on them.

    Returns:
        The hash.

    Raises:
        WeightsError: the file of weights that the experiment names is missing.
        DataError: the annotations cannot be read.
    """
    data, training = experiment.data, experiment.teacher_training
    is_trained_on_masks = training is not None and experiment.teacher.learns_masks
    segmentations = segmentations_hash(data) if is_trained_on_masks else None
    return content_hash(
        {
            "detector": {
                **experiment.teacher.model_dump(mode="json"),
                "weights": _identity(experiment.teacher.weights),
                "backbone_weights": _identity(experiment.teacher.backbone_weights),
            },
            "training": None
            if training is None
            else {
                **training_identity(training.model_dump(exclude=_WITHOUT_EFFECT)),
                "gradient_clip_norm": training.clip_norm,
            },
            "images": {
                "min_size_px": data.min_size_px,
                "max_size_px": data.max_size_px,
                "augmentation": {
                    **data.augmentation.model_dump(include=_FIRST_AUGMENTATION),
                    **data.augmentation.model_dump(exclude=_OF_STUDENTS, exclude_defaults=True),
                },
                **data.model_dump(include=_BATCHES, exclude_defaults=True),
            },
            "data": fingerprint,
            **({} if segmentations is None else {"segmentations": segmentations}),
            "metric": experiment.search.metric,
        }
    )


def _identity(weights: str | None) -> str | None:
    """Return the identity of weights: torchvision's name, or the hash of the content of a file.

    Args:
        weights: torchvision's name or a path; None for none.

    Returns:
        The identity, None for none.

    Raises:
        WeightsError: the file is missing or cannot be read.
    """
    if weights is None or is_torchvision_name(weights):
        return weights
    try:
        with Path(weights).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"weights {weights}: there is no such file, or it cannot be read: {error}") from None
