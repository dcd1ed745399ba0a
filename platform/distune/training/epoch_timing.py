"""Measures the time of an epoch: trains a few batches, evaluates a few images, and extrapolates to all images."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import numpy as np
import torch

from distune.config.detector import DetectorSettings, SsdliteSettings
from distune.config.experiment import Experiment
from distune.config.several_gpus import processes_of_trial
from distune.config.training import TrainingSettings
from distune.data.dataset import DetectionDataset, Subset
from distune.data.splits import Splits
from distune.detectors.taps import Detector
from distune.errors import TrialError
from distune.training.builder import TrialBuilder
from distune.training.student import is_finite

NUM_BATCHES = 4
"""Batches of an epoch that is timed. One epoch before it is not timed: memory is allocated, kernels are chosen."""

_NUM_EPOCHS = 2
_MIN_SEARCH_IMAGES = 8


@dataclasses.dataclass(frozen=True)
class EpochLength:
    """Seconds of an epoch, evaluation included, and the part for batches and the teacher, which a cohort shares."""

    total: float
    shared: float


def time_student_epoch(
    experiment: Experiment, splits: Splits, *, device: torch.device, teacher_weights: str | None
) -> EpochLength:
    """Return the length of an epoch of a student with distillation.

    The weights of the models do not matter: random ones replace those that would be downloaded, and a teacher that is
    not trained yet. Distillation is active from the first epoch. Writes nothing.

    Args:
        experiment: with its own values.
        splits: its data.
        device: of the models.
        teacher_weights: file of the teacher's weights; None for those of the settings if they name a file, else random.

    Returns:
        Its seconds; with several GPUs per trial those of one that trains its part of the batches and evaluates its part
        of the images.

    Raises:
        UsageError: student and teacher do not fit each other.
        DataError: there is no image, or too many cannot be decoded.
        TrialError: a loss is not finite.
    """
    distillation = experiment.distillation.model_copy(update={"start_epoch": 0, "stop_epoch": None})
    builder = TrialBuilder(experiment.model_copy(update={"distillation": distillation}), splits, device)
    teacher = builder.teacher_or_random(teacher_weights) if experiment.distillation.is_active else None
    training = experiment.training.model_copy(update={"batch_size": batch_of_one_gpu(experiment)})
    length = _time_epoch(builder, experiment.student, training, teacher)
    number = processes_of_trial(experiment.resources.gpus_per_trial)
    return EpochLength(total=length.total / number, shared=length.shared / number)


def batch_of_one_gpu(experiment: Experiment) -> int:
    """Return the images of a student's batch that each GPU of a trial has: all of them with one GPU or none."""
    number = processes_of_trial(experiment.resources.gpus_per_trial)
    part = max(1, experiment.training.batch_size // number)
    # One process alone normalizes over its part, and SSDlite's coarsest maps have one cell.
    return max(2, part) if isinstance(experiment.student, SsdliteSettings) else part


def time_teacher_epoch(experiment: Experiment, splits: Splits, *, device: torch.device) -> float:
    """Return the seconds of an epoch of the teacher's training, evaluation included; see ``time_student_epoch``."""
    training = experiment.teacher_training
    assert training is not None, "a teacher with given weights is not trained"
    builder = TrialBuilder(experiment, splits, device)
    return _time_epoch(builder, experiment.teacher, training, None).total


@contextlib.contextmanager
def cpu_threads(number: float) -> Iterator[None]:
    """Use this many threads inside the block, at least one, as Ray does for a trial with as many CPUs."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, int(number)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _time_epoch(
    builder: TrialBuilder, settings: DetectorSettings, training: TrainingSettings, teacher: Detector | None
) -> EpochLength:
    num_search = max(_MIN_SEARCH_IMAGES, training.batch_size)
    measured = measure_epoch(
        builder, settings, training, teacher, num_batches=NUM_BATCHES, num_search_images=num_search
    )
    splits = builder.splits
    scale = builder.stream(training, seed=training.seed).num_presentations / measured.num_train_images
    return EpochLength(
        total=measured.train_s * scale + measured.evaluate_s * len(splits.search) / measured.num_search_images,
        shared=min(measured.shared_s, measured.train_s) * scale,
    )


@dataclasses.dataclass(frozen=True)
class MeasuredEpoch:
    """An epoch on some of the images.

    Attributes:
        train_s: seconds of training.
        shared_s: the part of it for batches and the teacher.
        evaluate_s: seconds of evaluation.
        num_train_images, num_search_images: number of images of either.
        num_steps: number of training steps.
        peak_mb: largest memory so far in MB: of the GPU, or of this process.
    """

    train_s: float
    shared_s: float
    evaluate_s: float
    num_train_images: int
    num_search_images: int
    num_steps: int
    peak_mb: float


def measure_epoch(
    builder: TrialBuilder,
    settings: DetectorSettings,
    training: TrainingSettings,
    teacher: Detector | None,
    *,
    num_batches: int,
    num_search_images: int,
) -> MeasuredEpoch:
    """Train and evaluate twice on some of the images, and return the times of the second epoch.

    Args:
        builder: data and device.
        settings: of the student; its weights are random.
        training: of the student.
        teacher: of the distillation; None trains without.
        num_batches: training steps, fewer if there are not as many images.
        num_search_images: images that are evaluated, fewer if there are not as many.

    Returns:
        The second epoch.

    Raises:
        TrialError: a loss is not finite.
    """
    training = training.model_copy(update={"epochs": max(_NUM_EPOCHS, training.epochs)})
    splits, seed = builder.splits, training.seed
    train = _some(splits.train, num_batches * training.batch_size, seed=seed)
    search = _some(splits.search, num_search_images, seed=seed)
    few = dataclasses.replace(builder, splits=dataclasses.replace(splits, train=train, search=search))
    stream = few.stream(training, seed=seed, with_masks=settings.learns_masks, detector=settings)
    try:
        student = few.student(
            "timing", settings.from_scratch(), training, seed=seed, steps_per_epoch=len(stream), teacher=teacher
        )
        cohort = few.cohort(training, stream, teacher, epochs_done=0)
        cohort.join(student)
        for _ in range(_NUM_EPOCHS):
            result = cohort.run_epoch()["timing"]
            if result.error is not None:
                raise result.error
            if not is_finite(result.metrics):  # it is not evaluated then
                raise TrialError("a loss is not finite")
    finally:
        stream.close()
    evaluate_s = result.metrics["time/evaluate_s"]
    return MeasuredEpoch(
        train_s=result.metrics["time/epoch_s"] - evaluate_s,
        shared_s=result.metrics["time/load_s"] + result.metrics["time/teacher_s"],
        evaluate_s=evaluate_s,
        num_train_images=stream.num_presentations,
        num_search_images=len(search),
        num_steps=len(stream),
        peak_mb=result.metrics["memory/peak_mb"],
    )


def _some(dataset: DetectionDataset, number: int, *, seed: int) -> Subset:
    """Return some images of a data set, drawn at random: their sizes and numbers of boxes differ."""
    order = np.random.default_rng(seed).permutation(len(dataset))[:number]
    return Subset(dataset, order.tolist())
