"""Settings that change nothing in an experiment, or not what their names say."""

from __future__ import annotations

from collections.abc import Collection

from distune.config.experiment import Experiment
from distune.config.search import TeacherCacheSettings
from distune.config.training import EmaSettings, MultiStepSettings, TrainingSettings


def without_effect(experiment: Experiment, searched: Collection[str]) -> list[str]:
    """Return a warning for each setting that has no effect on a study.

    Args:
        experiment: of the study.
        searched: paths that trials choose.

    Returns:
        The lines.
    """
    training, teacher = experiment.training, experiment.teacher_training
    copies, epochs = experiment.data.augmentation.copies, training.epochs
    lines = []
    for section, settings in (("training", training), ("teacher_training", teacher)):
        if settings is None:  # the teacher has weights
            continue
        if settings.ema.decay == 0 and settings.ema != EmaSettings() and f"{section}.ema.decay" not in searched:
            lines.append(f"{section}.ema has no effect with {section}.ema.decay = 0; 0.99 averages about 100 steps")
    if teacher is not None and teacher.half_teacher_maps:
        lines.append("teacher_training.half_teacher_maps has no effect: a teacher is trained without a teacher")
    if copies is None and experiment.resources.teacher_cache != TeacherCacheSettings():
        lines.append("resources.teacher_cache has no effect without data.augmentation.copies: no batches repeat")
    if copies is None and training.half_teacher_maps:
        lines.append(
            "training.half_teacher_maps rounds the teacher's maps and saves nothing without data.augmentation.copies"
        )
    if copies is not None and copies >= epochs and "training.epochs" not in searched:
        lines.append(
            f"data.augmentation.copies = {copies} has no effect in {epochs} epochs: batches repeat from epoch "
            f"{copies + 1} on"
        )
    return [f"warning: {line}" for line in lines]


def too_few_steps(training: TrainingSettings, *, num_images: int) -> list[str]:
    """Return a warning for each setting that needs more optimizer steps than students take.

    Args:
        training: of the students.
        num_images: training images.

    Returns:
        The lines.
    """
    batches = max(1, num_images // training.batch_size)
    steps = training.epochs * -(-batches // training.accumulate_batches)
    schedule, ema = training.schedule, training.ema
    lines = []
    if training.accumulate_batches > batches:
        lines.append(
            f"training.accumulate_batches = {training.accumulate_batches} is more than the {batches} batches of an "
            "epoch: each epoch has one optimizer step"
        )
    if isinstance(schedule, MultiStepSettings) and schedule.warmup_steps >= steps * min(schedule.milestones):
        lines.append(
            f"training.schedule.warmup_steps = {schedule.warmup_steps} is not over before the first milestone: all "
            f"{training.epochs} epochs have {steps} optimizer steps"
        )
    if ema.decay > 0 and ema.every_steps / (1 - ema.decay) > steps / 2:
        lines.append(
            f"training.ema.decay = {ema.decay:g} averages about {ema.every_steps / (1 - ema.decay):.0f} steps, but "
            f"all {training.epochs} epochs have {steps} optimizer steps; use a tenth of them at most"
        )
    return [f"warning: {line}" for line in lines]
