"""The estimated time of a study before it runs, from seconds per epoch that were measured. Pure functions."""

from __future__ import annotations

import dataclasses
from typing import Any

from distune.config.format_value import show_duration
from distune.study.planning.study_plan import StudyPlan
from distune.study.planning.time_text import show_seconds


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpochSeconds:
    """Measured seconds per epoch, evaluation included.

    Attributes:
        student: of a searched trial.
        source: where they were measured, such as ``in study first``.
        control: of a control; None counts it like a searched trial.
        teacher: of the teacher; None when it is not measured.
        is_alone: measured while no other trial ran.
        shared: the part of ``student`` for batches and the teacher, which trials of a cohort share; None when it is not
            measured.
    """

    student: float
    source: str
    control: float | None = None
    teacher: float | None = None
    is_alone: bool = False
    shared: float | None = None

    def in_cohort(self, size: int) -> EpochSeconds:
        """Return the seconds of an epoch of a cohort of ``size`` trials, if they are known for one trial."""
        if size == 1 or self.shared is None:
            return self
        return dataclasses.replace(
            self,
            student=self.shared + size * (self.student - self.shared),
            control=None if self.control is None else size * self.control,
            shared=None,
        )

    def cohort_saving(self, size: int) -> float | None:
        """Return the fraction of the time that trials save as a cohort; None when it is not known."""
        if size == 1 or self.shared is None:
            return None
        return 1.0 - self.in_cohort(size).student / (size * self.student)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TimePlan:
    """Estimated time of a study.

    Attributes:
        search_s: seconds of all trials and controls.
        is_maximum: no trial is assumed to be stopped early, because that cannot be predicted.
        teacher_epochs: epochs that the teacher has yet to train; 0 when it is ready.
        teacher_s: seconds of these epochs; None when they are not measured.
        epoch_s: the measured seconds per epoch.
        num_concurrent: number of trials at a time.
        cohort: trials that a worker trains side by side.
        cohort_saving: fraction of the time that this saves; None when it is not known.
    """

    search_s: float
    is_maximum: bool
    teacher_epochs: int
    teacher_s: float | None
    epoch_s: EpochSeconds
    num_concurrent: int
    cohort: int = 1
    cohort_saving: float | None = None

    @property
    def total_s(self) -> float:
        """Seconds of the search, and of the teacher where they are known."""
        return self.search_s + (self.teacher_s or 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {**dataclasses.asdict(self), "total_s": self.total_s}


def plan_time(
    plan: StudyPlan, alone_s: EpochSeconds, *, num_concurrent: int, teacher_epochs: int, cohort: int = 1
) -> TimePlan:
    """Estimate the time of a study.

    Args:
        plan: of the study.
        alone_s: measured seconds per epoch.
        num_concurrent: number of trials at a time.
        teacher_epochs: epochs that the teacher has yet to train.
        cohort: trials that a worker trains side by side.

    Returns:
        The estimate. Workers are assumed not to slow each other.
    """
    epoch_s = alone_s.in_cohort(cohort)
    control_s = epoch_s.student if epoch_s.control is None else epoch_s.control
    control_epochs = plan.num_controls * plan.num_epochs
    epochs = plan.max_epochs if plan.expected_epochs is None else plan.expected_epochs
    work = (epochs - control_epochs) * epoch_s.student + control_epochs * control_s
    longest = plan.num_epochs * max(epoch_s.student, control_s)
    teacher_s = 0.0 if teacher_epochs == 0 else None
    if teacher_epochs and epoch_s.teacher is not None:
        teacher_s = teacher_epochs * epoch_s.teacher
    return TimePlan(
        search_s=max(work / num_concurrent, longest),
        is_maximum=plan.expected_epochs is None,
        teacher_epochs=teacher_epochs,
        teacher_s=teacher_s,
        epoch_s=alone_s,
        num_concurrent=num_concurrent,
        cohort=cohort,
        cohort_saving=alone_s.cohort_saving(cohort),
    )


def describe_time_plan(plan: TimePlan | None) -> list[str]:
    """Return the estimate as text.

    Args:
        plan: None if nothing was measured.

    Returns:
        The lines.
    """
    if plan is None:
        return ["estimated time: not measured yet; distune validate --time measures it on a few batches"]
    seconds = plan.epoch_s
    amount = f"{'at most' if plan.is_maximum else 'about'} {show_duration(plan.total_s)}"
    if plan.teacher_s:
        amount += f", {show_duration(plan.teacher_s)} of it for the teacher"
    elif plan.teacher_epochs:
        amount += f", and the teacher's {plan.teacher_epochs} epochs, which are not measured"
    parts = [f"{show_seconds(seconds.student)} per student epoch"]
    if seconds.control is not None:
        parts.append(f"{show_seconds(seconds.control)} without distillation")
    if plan.teacher_s and seconds.teacher is not None:
        parts.append(f"{show_seconds(seconds.teacher)} per teacher epoch")
    at_a_time = "1 trial at a time" if plan.num_concurrent == 1 else f"{plan.num_concurrent} trials at a time"
    if plan.cohort_saving is not None:
        at_a_time += f", {plan.cohort} side by side, which saves {plan.cohort_saving:.0%} of the time"
    lines = [f"estimated time: {amount}; {at_a_time} (measured {seconds.source}: {', '.join(parts)})"]
    if seconds.is_alone and plan.num_concurrent > plan.cohort:
        lines.append("estimated time: trials that run at a time slow each other, which is not measured here")
    return lines
