"""Settings that change nothing in an experiment, or not what their names say."""

from __future__ import annotations

from collections.abc import Collection

from distune.config.base import Settings
from distune.config.distillation import DistillationSettings
from distune.config.experiment import Experiment
from distune.config.format_value import format_value
from distune.config.search import TeacherCacheSettings
from distune.config.training import EmaSettings, MultiStepSettings, TrainingSettings

_OF_GLOBAL_KNOWLEDGE = {
    "temperature": ("form", "divergence"),
    "base_size_px": ("levels", "own"),
    "background_weight": ("at", "cells"),
}
"""Setting to the setting and value that it belongs to."""
_OF_FILTER = ("discrepancy", "global_threshold", "local_threshold")
_FOLLOWS_IMAGES = "min_box_side_px"
"""The setting of prototypes that follows the size of the images: experiments give it whether they use it or not."""


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
    lines += _of_distillation(experiment.distillation, {*searched, *experiment.search.fixed})
    return [f"warning: {line}" for line in lines]


def _of_distillation(settings: DistillationSettings, chosen: Collection[str]) -> list[str]:
    """Return a line for each setting of distillation that differs from its preset and has no effect.

    Args:
        settings: of the experiment.
        chosen: paths that trials choose or that are fixed; a setting may have an effect by them.

    Returns:
        The lines.
    """
    preset = DistillationSettings(preset=settings.preset)
    chosen = [path.removeprefix("distillation.") for path in chosen if path.startswith("distillation.")]
    used = [name for name, term in settings.terms.items() if term.weight > 0 or f"{name}.weight" in chosen]
    filters = settings.filter.weight != "uniform" or "filter.weight" in chosen
    lines: list[str] = []

    def add(section: str, name: str, reason: str) -> None:
        path = f"{section}.{name}" if section else name
        value, default = (getattr(getattr(each, section) if section else each, name) for each in (settings, preset))
        if value != default and not any(f"{each}.".startswith(f"{path}.") for each in chosen):
            shown = "" if isinstance(value, Settings) else f" = {format_value(value)}"
            lines.append(f"distillation.{path}{shown} has no effect {reason}")

    if "global_knowledge" in used:
        for name, (switch, needed) in _OF_GLOBAL_KNOWLEDGE.items():
            now, path = getattr(settings.global_knowledge, switch), f"global_knowledge.{switch}"
            if now != needed and path not in chosen:
                add("global_knowledge", name, f"with distillation.{path} = {now}; it is for {switch}: {needed}")
    if not filters:
        for name in _OF_FILTER:
            add("filter", name, "with distillation.filter.weight = uniform, which disables the filter")
    if "global_knowledge" not in used and not (used and filters):
        reason = (
            "because nothing uses prototypes: that takes distillation.global_knowledge.weight above 0, or a term and "
            "distillation.filter.weight other than uniform"
        )
        for name in type(settings.prototypes).model_fields:
            if name != _FOLLOWS_IMAGES:
                add("prototypes", name, reason)
        add("", "center", reason)
    return lines


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
