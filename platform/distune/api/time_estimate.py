"""Estimates the time of a study before it runs: from earlier studies and teachers, or from a few batches."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from distune.config.experiment import Experiment
from distune.config.home import Home
from distune.config.load import LoadedExperiment
from distune.config.several_gpus import processes_of_trial
from distune.errors import WeightsError
from distune.study.planning.earlier_epochs import earlier_epoch_seconds
from distune.study.planning.plan_text import cohorts_here
from distune.study.planning.study_plan import plan_study
from distune.study.planning.study_time import epoch_times, mean_seconds
from distune.study.planning.time_plan import EpochSeconds, TimePlan, plan_time

if TYPE_CHECKING:
    from distune.data.splits import Splits


def estimate_time(
    loaded: LoadedExperiment, splits: Splits, home: Home, *, measure: bool = False, is_local: bool = False
) -> TimePlan | None:
    """Estimate the time of a study. Writes nothing.

    Args:
        loaded: the experiment and its space.
        splits: its data.
        home: holds teachers and earlier studies.
        measure: train a few batches of student and teacher; else only what is on record counts.
        is_local: whether the local runner runs it.

    Returns:
        The estimate; None when nothing is measured.

    Raises:
        UsageError: student and teacher do not fit each other, or no image can be read.
    """
    experiment = loaded.experiment
    teacher_epochs, teacher_s, weights = _teacher(experiment, splits, home)
    if measure:
        seconds: EpochSeconds | None = _measure(experiment, splits, weights, with_teacher=teacher_epochs > 0)
    else:
        seconds = earlier_epoch_seconds(home, experiment)
        if seconds is not None:
            seconds = dataclasses.replace(seconds, teacher=teacher_s)
    if seconds is None:
        return None
    cohorts = cohorts_here(experiment, is_local=is_local)
    return plan_time(
        plan_study(experiment, loaded.searched),
        seconds,
        num_concurrent=cohorts.num_trials,
        teacher_epochs=teacher_epochs,
        cohort=cohorts.size,
    )


def _teacher(experiment: Experiment, splits: Splits, home: Home) -> tuple[int, float | None, str | None]:
    """Return the epochs that the teacher has yet to train, their measured seconds, and the file of a ready teacher."""
    from distune.training.teacher import load_teacher
    from distune.training.teacher_hash import teacher_hash
    from distune.training.trial_folder import TrialFolder

    try:
        teacher = load_teacher(experiment, splits, home=home)
        if teacher is not None:
            return 0, None, str(teacher.weights)
        if experiment.teacher_training is None:
            return 0, None, None
        reports = TrialFolder(home.teachers / teacher_hash(experiment, splits.fingerprint)).reports()
    except WeightsError:  # reported when the teacher is prepared
        return 0 if experiment.teacher_training is None else experiment.teacher_training.epochs, None, None
    return experiment.teacher_training.epochs - len(reports), mean_seconds(epoch_times(reports)), None


def _measure(experiment: Experiment, splits: Splits, weights: str | None, *, with_teacher: bool) -> EpochSeconds:
    import torch

    from distune.training.epoch_timing import NUM_BATCHES, cpu_threads, time_student_epoch, time_teacher_epoch
    from distune.training.precision import pick_device, visible_gpus

    wants_gpu = experiment.resources.gpus_per_trial != 0 and visible_gpus() > 0
    device = pick_device("auto") if wants_gpu else torch.device("cpu")
    with cpu_threads(experiment.resources.cpus_per_trial):
        student = time_student_epoch(experiment, splits, device=device, teacher_weights=weights)
        teacher = time_teacher_epoch(experiment, splits, device=device) if with_teacher else None
    where = "the GPU" if wants_gpu else "the CPU"
    source = f"on {NUM_BATCHES} batches on {where}"
    if (number := processes_of_trial(experiment.resources.gpus_per_trial)) > 1:
        source += f", one of the {number} GPUs of a trial" if wants_gpu else f", divided by {number} processes"
    return EpochSeconds(student=student.total, shared=student.shared, teacher=teacher, source=source, is_alone=True)
