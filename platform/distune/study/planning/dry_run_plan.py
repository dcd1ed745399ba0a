"""The time of a study, from a few steps at full size and from a published speed. Pure functions."""

from __future__ import annotations

import dataclasses
from typing import Any

from distune.config.format_value import show_duration
from distune.study.planning.study_plan import StudyPlan
from distune.study.planning.time_text import show_seconds


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageSeconds:
    """Seconds per image of one worker.

    Attributes:
        where: the device, such as ``this CPU``.
        control: a training step without distillation.
        distilled: a training step with distillation.
        teacher: a training step of the teacher; None for a teacher that is not trained.
        evaluate: evaluation of the student.
    """

    where: str
    control: float
    distilled: float
    teacher: float | None
    evaluate: float

    def scaled_to(self, control: float, where: str) -> ImageSeconds:
        """Return these seconds on another device, on which a step without distillation takes ``control`` seconds.

        All ratios are assumed to be the same there.
        """
        factor = control / self.control
        return ImageSeconds(
            where=where,
            control=control,
            distilled=self.distilled * factor,
            teacher=None if self.teacher is None else self.teacher * factor,
            evaluate=self.evaluate * factor,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DryRunPlan:
    """Estimated seconds on one device.

    Attributes:
        where: the device.
        control_s: a control, evaluation included.
        trial_s: a trial that is not stopped.
        teacher_s: training the teacher; 0 if it is not trained.
        study_s: teacher, all trials and controls; at most, if ``is_maximum``.
        confirm_s: a confirmation of one trial under five seeds.
        is_maximum: how many epochs early stopping saves is not known.
    """

    where: str
    control_s: float
    trial_s: float
    teacher_s: float
    study_s: float
    confirm_s: float
    is_maximum: bool

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return dataclasses.asdict(self)

    def describe(self) -> str:
        """Return the estimate in one line."""
        teacher = f", the teacher {show_duration(self.teacher_s)}" if self.teacher_s else ""
        most = "at most " if self.is_maximum else ""
        return (
            f"estimate on {self.where}: a control {show_duration(self.control_s)}, a whole trial "
            f"{show_duration(self.trial_s)}{teacher}; the study {most}{show_duration(self.study_s)}, and a "
            f"confirmation of one trial with {CONFIRM_SEEDS} seeds {show_duration(self.confirm_s)}"
        )


CONFIRM_SEEDS = 5


def plan_dry_run(
    seconds: ImageSeconds,
    plan: StudyPlan,
    *,
    num_train_images: int,
    num_search_images: int,
    teacher_epochs: int,
) -> DryRunPlan:
    """Estimate a study on one device that trains one model at a time.

    Args:
        seconds: per image.
        plan: of the study.
        num_train_images: of an epoch.
        num_search_images: that are evaluated after each epoch.
        teacher_epochs: of the teacher's training; 0 if it is not trained.

    Returns:
        The estimate.
    """

    def epoch(step: float) -> float:
        return step * num_train_images + seconds.evaluate * num_search_images

    control_s, trial_s = (plan.num_epochs * epoch(each) for each in (seconds.control, seconds.distilled))
    teacher_s = 0.0 if seconds.teacher is None else teacher_epochs * epoch(seconds.teacher)
    epochs = plan.max_epochs if plan.expected_epochs is None else plan.expected_epochs
    searched = (epochs - plan.num_controls * plan.num_epochs) * epoch(seconds.distilled)
    return DryRunPlan(
        where=seconds.where,
        control_s=control_s,
        trial_s=trial_s,
        teacher_s=teacher_s,
        study_s=teacher_s + searched + plan.num_controls * control_s,
        confirm_s=CONFIRM_SEEDS * (control_s + trial_s),
        is_maximum=plan.expected_epochs is None,
    )


def describe_image_seconds(seconds: ImageSeconds) -> str:
    """Return the seconds per image in one line."""
    parts = [
        f"control {show_seconds(seconds.control)}",
        f"distilled {show_seconds(seconds.distilled)} ({seconds.distilled / seconds.control:.2f} times)",
    ]
    if seconds.teacher is not None:
        parts.append(f"teacher {show_seconds(seconds.teacher)}")
    parts.append(f"evaluation {show_seconds(seconds.evaluate)}")
    return f"seconds per image on {seconds.where}: {', '.join(parts)}"
