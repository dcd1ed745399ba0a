"""The sweep over training images from which prototypes can be made: both models, no augmentation, no gradient."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from distune.data.dataset import DetectionDataset
from distune.data.stream import TrainingStream
from distune.detectors.taps import Detector, Instances, NeckMaps
from distune.distillation.sweep import SweepSource
from distune.training.precision import autocast

_SIZE_DIVISOR = 32


def sweep_source(
    student: Detector,
    teacher: Detector,
    stream: TrainingStream,
    *,
    seed: int,
    device: torch.device,
    dtype: torch.dtype | None,
) -> SweepSource:
    """What ``Objective.begin_epoch`` takes: given the images per class, runs both models over as many images."""

    def sweep(max_images: int) -> Iterator[tuple[NeckMaps, NeckMaps, Instances]]:
        indices = images_per_class(stream.dataset, max_images, np.random.default_rng(seed))
        for batch in stream.plain_batches(indices):
            moved = batch.to(device)
            with autocast(device, dtype):
                student_neck = student.neck_only(moved.images)
                teacher_neck = teacher.neck_only(moved.images)
            yield student_neck, teacher_neck, Instances.of(moved.targets, _padded_size(moved.images))

    return sweep


def images_per_class(dataset: DetectionDataset, max_images: int, generator: np.random.Generator) -> list[int]:
    """Images drawn at random so that each class is on at most ``max_images`` of them, as far as it is on any.

    An image is taken when a class on it still lacks images; boxes that nothing is trained on do not count.
    """
    counts = np.zeros(len(dataset.classes) + 1, dtype=np.int64)
    chosen: list[int] = []
    for index in generator.permutation(len(dataset)):
        annotations = dataset.annotations(int(index))
        present = np.unique(annotations.labels_N[~(annotations.crowd_N | annotations.difficult_N)])
        if (counts[present] < max_images).any():
            counts[present] += 1
            chosen.append(int(index))
    return chosen


def _padded_size(images: list[Tensor]) -> tuple[int, int]:
    height, width = (max(int(image.shape[axis]) for image in images) for axis in (-2, -1))
    return (
        math.ceil(height / _SIZE_DIVISOR) * _SIZE_DIVISOR,
        math.ceil(width / _SIZE_DIVISOR) * _SIZE_DIVISOR,
    )
