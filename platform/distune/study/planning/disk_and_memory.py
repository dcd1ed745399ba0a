"""Disk and memory that a trial needs, as far as they follow from its settings. Loads torch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from distune.config.data import ImageSettings
from distune.config.experiment import Experiment
from distune.config.training import OptimizerSettings
from distune.data.splits import Splits
from distune.detectors.resizing import sizes_kept
from distune.study.planning.study_plan import StudyPlan
from distune.training.builder import TrialBuilder


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialSizes:
    """Bytes of one trial with the experiment's own values.

    Attributes:
        best: checkpoint of the best epoch: the student.
        last: checkpoint of the last epoch, at most: student, averaged weights, adapters, optimizer, features for
            prototypes.
        memory: weights, averaged weights, gradients and optimizer state of all trained modules, the teacher's weights,
            features for prototypes. Activations and memory of the libraries come on top.
        teacher: the part of ``memory`` that is the teacher's.
        maps_per_image: the teacher's maps of a square image in training, which its cache keeps.
    """

    best: int
    last: int
    memory: int
    teacher: int = 0
    maps_per_image: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiskPlan:
    """Bytes that a study needs on disk.

    Attributes:
        max_bytes: if no trial is stopped.
        expected_bytes: see ``StudyPlan.expected_finished``; None when that is None.
    """

    max_bytes: int
    expected_bytes: int | None


def trial_sizes(experiment: Experiment, splits: Splits) -> TrialSizes:
    """Build student, teacher and objective with random weights, and add up their tensors.

    Args:
        experiment: with its own values.
        splits: of its data.

    Returns:
        Bytes of checkpoints and of memory.

    Raises:
        UsageError: student and teacher are incompatible.
    """
    builder = TrialBuilder(experiment, splits, torch.device("cpu"))
    training = experiment.training
    student = builder.detector(experiment.student.from_scratch(), seed=0)
    best = _bytes(student.model)
    trained, kept, teacher_bytes, maps_bytes = [student.model], 0, 0, 0
    if experiment.distillation.is_active:
        teacher = builder.detector(experiment.teacher.from_scratch(), seed=0)
        objective = builder.objective(student, teacher, training, seed=0)
        trained.append(objective)
        kept, teacher_bytes = _bytes(objective), _bytes(teacher.model)
        if experiment.data.augmentation.copies is not None:
            side_px = _training_side_px(experiment.data)
            with sizes_kept([teacher.model]):
                maps_bytes = teacher.teacher_maps([torch.zeros(3, side_px, side_px)]).num_bytes
            maps_bytes //= 2 if training.half_teacher_maps else 1
    gradients = sum(_num_bytes(each for each in module.parameters() if each.requires_grad) for module in trained)
    optimizer = _moments(training.optimizer) * gradients
    average = best if training.ema.decay > 0 else 0
    # From one batch of a step to the next, gradients that are clipped apart are held apart.
    is_clipped_apart = training.clip_norm is not None and training.gradient_clip_of != "total"
    is_held_apart = training.accumulate_batches > 1 and is_clipped_apart and experiment.distillation.is_active
    return TrialSizes(
        best=best,
        last=best + average + kept + optimizer,
        memory=best + average + kept + optimizer + (2 if is_held_apart else 1) * gradients + teacher_bytes,
        teacher=teacher_bytes,
        maps_per_image=maps_bytes,
    )


def _training_side_px(data: ImageSettings) -> int:
    """Return the side of a square image in training; of sizes that are drawn, that of the mean area."""
    augmentation = data.augmentation
    if augmentation.scale_jitter is not None:
        return augmentation.crop_size_px or data.max_size_px
    sizes = augmentation.min_sizes_px or [data.min_size_px]
    return round(math.sqrt(sum(size * size for size in sizes) / len(sizes)))


def disk_plan(plan: StudyPlan, sizes: TrialSizes, *, num_concurrent: int, has_copies: bool) -> DiskPlan:
    """Return the disk space of a study: both checkpoints of all trials that finish or are in progress.

    Args:
        plan: of the study.
        sizes: of a trial. Controls count like other trials, although they have no adapters.
        num_concurrent: number of concurrent trials.
        has_copies: whether the tracker keeps a copy of each finished student on the same disk.

    Returns:
        The maximum and the expectation.
    """
    each = sizes.best + sizes.last + (sizes.best if has_copies else 0)
    # A checkpoint is written beside the one that it replaces.
    in_progress = num_concurrent * (sizes.best + 2 * sizes.last)
    expected = None if plan.expected_finished is None else round(plan.expected_finished * each) + in_progress
    return DiskPlan(max_bytes=plan.max_finished * each + in_progress, expected_bytes=expected)


def _moments(settings: OptimizerSettings) -> int:
    """Return how many numbers the optimizer stores per trained weight."""
    if settings.kind == "adamw":
        return 2
    return 1 if settings.momentum > 0 else 0


def _bytes(module: nn.Module) -> int:
    return _num_bytes([*module.parameters(), *module.buffers()])


def _num_bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
