"""Runs a few real steps of an experiment at full size: teacher, control, distilled student, evaluation."""

from __future__ import annotations

import dataclasses

import torch

from distune.config.experiment import Experiment
from distune.data.splits import Splits
from distune.training.builder import TrialBuilder
from distune.training.epoch_timing import MeasuredEpoch, batch_of_one_gpu, measure_epoch

NUM_STEPS = 2
"""Training steps of each model: one that allocates memory and chooses kernels, and one that is measured."""
NUM_IMAGES_EVALUATED = 2
MAX_BATCH_ON_CPU = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class DrySteps:
    """Measured steps at full image size.

    Attributes:
        device: ``CPU``, or the name of the GPU.
        batch_size: images of a step, on one GPU of a trial.
        control_s: seconds per image of a training step without distillation.
        distilled_s: the same with the experiment's own distillation; None if all its weights are 0.
        teacher_s: the same of the teacher's training; None for a teacher that is not trained.
        evaluate_s: seconds per image of the student's evaluation.
        peak_mb: largest memory in MB: of the GPU, or of this process.
    """

    device: str
    batch_size: int
    control_s: float
    distilled_s: float | None
    teacher_s: float | None
    evaluate_s: float
    peak_mb: float


def run_steps(experiment: Experiment, splits: Splits, device: torch.device) -> DrySteps:
    """Train each model of an experiment for ``NUM_STEPS`` steps and evaluate ``NUM_IMAGES_EVALUATED`` images.

    The weights are random where they would have to be downloaded or trained. Distillation is active from the first
    step. Writes nothing.

    Args:
        experiment: with its own values. A trial on several GPUs is measured on one, with that one's part of a batch. On
            a CPU the batch size is at most ``MAX_BATCH_ON_CPU``.
        splits: its data.
        device: of the models.

    Returns:
        The seconds and the memory.

    Raises:
        UsageError: student and teacher do not fit each other.
        WeightsError: a file of weights is missing or does not fit.
        TrialError: a loss is not finite.
    """
    distillation = experiment.distillation.model_copy(update={"start_epoch": 0, "stop_epoch": None})
    experiment = experiment.model_copy(update={"distillation": distillation})
    builder = TrialBuilder(experiment, splits, device)
    training = _fitting(batch_of_one_gpu(experiment), device)
    student = experiment.training.model_copy(update={"batch_size": training})

    def measure(role: str) -> MeasuredEpoch:
        settings, budget, teacher = experiment.student, student, None
        if role == "teacher":
            assert experiment.teacher_training is not None
            size = _fitting(experiment.teacher_training.batch_size, device)
            settings, budget = experiment.teacher, experiment.teacher_training.model_copy(update={"batch_size": size})
        elif role == "distilled":
            teacher = builder.teacher_or_random(None)
        return measure_epoch(
            builder, settings, budget, teacher, num_batches=NUM_STEPS - 1, num_search_images=NUM_IMAGES_EVALUATED
        )

    roles = ["control"]
    roles += ["distilled"] if experiment.distillation.is_active else []
    roles += ["teacher"] if experiment.teacher_training is not None else []
    found = {role: measure(role) for role in roles}
    seconds = {role: each.train_s / each.num_train_images for role, each in found.items()}
    control = found["control"]
    return DrySteps(
        device="CPU" if device.type == "cpu" else torch.cuda.get_device_name(device),
        batch_size=training,
        control_s=seconds["control"],
        distilled_s=seconds.get("distilled"),
        teacher_s=seconds.get("teacher"),
        evaluate_s=control.evaluate_s / control.num_search_images,
        peak_mb=max(each.peak_mb for each in found.values()),
    )


def _fitting(batch_size: int, device: torch.device) -> int:
    return min(batch_size, MAX_BATCH_ON_CPU) if device.type == "cpu" else batch_size
