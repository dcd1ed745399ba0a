"""The sweep over training images from which prototypes can be made: both models, no augmentation, no gradient."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from distune.data.stream import TrainingStream
from distune.detectors.taps import Detector, Frame, Instances, View
from distune.distillation.sweep import SweepSource
from distune.training.precision import autocast
from distune.training.sweep_order import SweepOrder


def sweep_source(
    student: Detector,
    teacher: Detector,
    stream: TrainingStream,
    *,
    seed: int,
    device: torch.device,
    dtype: torch.dtype | None,
) -> SweepSource:
    """What ``Objective.begin_epoch`` takes: given the images per class, runs both models over as many images.

    Nothing is kept: ``Sweeps`` is for those who sweep again and again.
    """

    def sweep(max_images: int) -> Iterator[tuple[View, View, Instances]]:
        for batch in stream.plain_batches(SweepOrder.of(stream.dataset, seed=seed).images(max_images)):
            moved = batch.to(device)
            with autocast(device, dtype):
                student_view = student.neck_only(moved.images)
                teacher_view = teacher.neck_only(moved.images)
            yield student_view, teacher_view, Instances.of(moved.targets, frame_of_images(moved.images))

    return sweep


def frame_of_images(images: list[Tensor]) -> Frame:
    """The frame of images as they are, before a model resizes them."""
    sizes = tuple((int(image.shape[-2]), int(image.shape[-1])) for image in images)
    return Frame((max(height for height, _ in sizes), max(width for _, width in sizes)), sizes)
