"""The time of a study: seconds per epoch as measured, and an estimate of the time left. Pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from itertools import accumulate
from statistics import fmean
from typing import Any, NamedTuple

from distune.records import EpochReport, Outcome, TrialRecord
from distune.study.planning.study_plan import StudyPlan, expected_rest

NUM_RECENT = 20
"""Number of the latest epochs that are averaged: the load of a machine changes."""

_OVERLAP = 0.95
"""The last part of an epoch's time that counts as occupied: clocks of machines differ a little."""


class EpochTime(NamedTuple):
    """The end of an epoch in seconds since 1970, and its length in seconds."""

    ended_at: float
    seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialTime:
    """Epochs of a trial that has started.

    Attributes:
        control: whether it trains without distillation.
        epochs: number of epochs done.
        is_open: it has not ended; an interrupted trial has not.
        is_running: a session works on it.
    """

    control: bool
    epochs: int
    is_open: bool
    is_running: bool

    @classmethod
    def of(cls, record: TrialRecord) -> TrialTime:
        """Return what the record of a trial says."""
        return cls(
            control=record.control,
            epochs=record.epochs,
            is_open=record.outcome in (Outcome.RUNNING, Outcome.INTERRUPTED),
            is_running=record.outcome is Outcome.RUNNING,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeasuredEpochs:
    """Epochs of a study whose length is known, in any order.

    Attributes:
        searched: of searched trials.
        controls: of controls.
    """

    searched: Sequence[EpochTime] = ()
    controls: Sequence[EpochTime] = ()

    @property
    def all(self) -> list[EpochTime]:
        """All of them."""
        return [*self.searched, *self.controls]


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyTime:
    """Time of a study that trains. Dates are seconds since 1970.

    Attributes:
        started_at: when the study was created, after its teacher was ready.
        last_epoch_at: end of the latest epoch; None before the first one.
        epoch_s: seconds per epoch of a searched trial, evaluation included; None before it is measured.
        control_epoch_s: the same of a control.
        num_concurrent: number of trials at a time.
        left_s: estimated seconds until all trials have ended, if a session runs them without a pause. None when all
            have ended, and before the seconds per epoch are measured.
        left_is_maximum: no trial is assumed to be stopped early, because that cannot be predicted.
    """

    started_at: float
    last_epoch_at: float | None
    epoch_s: float | None
    control_epoch_s: float | None
    num_concurrent: int
    left_s: float | None
    left_is_maximum: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return dataclasses.asdict(self)


def study_time(
    plan: StudyPlan,
    trials: Sequence[TrialTime],
    measured: MeasuredEpochs,
    *,
    started_at: float,
    session_at: float | None = None,
    now: float | None = None,
) -> StudyTime:
    """Estimate the time left from the epochs that were measured.

    The epochs that are expected to remain under the scheduler, times the seconds of an epoch, are divided among the
    trials at a time. The result is at least the time of the trial with the most left. Epochs of the current session
    count, the latest of them; before it has any, those of earlier sessions.

    Args:
        plan: of the whole study.
        trials: all trials that have started.
        measured: their epochs; the latest are enough.
        started_at: when the study was created.
        session_at: when the current session started; None when it is not known.
        now: the current time while a session runs; the time since the latest epoch is subtracted. None otherwise.

    Returns:
        The time of the study.
    """
    latest = max((each.ended_at for each in measured.all), default=None)
    epoch_s, control_s = (mean_seconds(each, since=session_at) for each in (measured.searched, measured.controls))
    to_start = {
        False: max(0, plan.num_trials - sum(not trial.control for trial in trials)),
        True: max(0, plan.num_controls - sum(trial.control for trial in trials)),
    }
    num_open = sum(trial.is_open for trial in trials) + sum(to_start.values())
    at_a_time = max(1, peak_overlap(_recent(measured.all, session_at)), sum(trial.is_running for trial in trials))
    left = _seconds_left(plan, trials, to_start, epoch_s, control_s, min(at_a_time, max(1, num_open)))
    if left is not None and now is not None:
        known = [each for each in (latest, session_at) if each is not None]
        elapsed = max(0.0, now - max(known)) if known else 0.0
        left = max(left - elapsed, min(left, epoch_s or control_s or 0.0))
    return StudyTime(
        started_at=started_at,
        last_epoch_at=latest,
        epoch_s=epoch_s,
        control_epoch_s=control_s,
        num_concurrent=at_a_time,
        left_s=left,
        left_is_maximum=plan.expected_epochs is None,
    )


def epoch_times(reports: Iterable[EpochReport]) -> tuple[EpochTime, ...]:
    """Return the end and the length of the epochs whose length is on record."""
    return tuple(
        EpochTime(report.finished_at, report.metrics["time/epoch_s"])
        for report in reports
        if report.is_finite("time/epoch_s")
    )


def mean_seconds(epochs: Iterable[EpochTime], *, since: float | None = None) -> float | None:
    """Return the mean length of the latest epochs.

    Args:
        epochs: in any order.
        since: only epochs that ended later count, if there are any.

    Returns:
        Seconds; None without epochs.
    """
    recent = _recent(epochs, since)
    return fmean(each.seconds for each in recent) if recent else None


def peak_overlap(epochs: Iterable[EpochTime]) -> int:
    """Return the largest number of epochs that were trained at the same time."""
    events = sorted(
        event for end, seconds in epochs for event in ((end - _OVERLAP * seconds, 1), (end, -1)) if seconds > 0
    )
    return max(accumulate(change for _, change in events), default=0)


def _recent(epochs: Iterable[EpochTime], since: float | None) -> list[EpochTime]:
    """Return the latest epochs, those of the current session if it has any."""
    ordered = sorted(epochs)
    of_session = [each for each in ordered if since is not None and each.ended_at >= since]
    return (of_session or ordered)[-NUM_RECENT:]


def _seconds_left(
    plan: StudyPlan,
    trials: Sequence[TrialTime],
    to_start: dict[bool, int],
    epoch_s: float | None,
    control_s: float | None,
    at_a_time: int,
) -> float | None:
    searched, chains = _search_left(plan, [trial for trial in trials if not trial.control], to_start[False])
    controls = [plan.num_epochs - trial.epochs for trial in trials if trial.control and trial.is_open]
    controls += [plan.num_epochs] * to_start[True]
    if searched + sum(controls) == 0 or (searched > 0 and epoch_s is None):
        return None
    # A control has no teacher: its epochs are no longer than those of other trials.
    of_control = control_s if control_s is not None else epoch_s
    if of_control is None:
        return None
    of_trial = epoch_s if epoch_s is not None else of_control
    work = searched * of_trial + sum(controls) * of_control
    longest = max([*(chain * of_trial for chain in chains), *(number * of_control for number in controls)])
    return max(work / at_a_time, longest)


def _search_left(plan: StudyPlan, trials: Sequence[TrialTime], to_start: int) -> tuple[float, list[float]]:
    """Return the expected epochs left of all searched trials, and those of each trial in progress or to start."""
    in_progress = [trial.epochs for trial in trials if trial.is_open]
    reached = [sum(trial.epochs >= rung for trial in trials) for rung in plan.rungs]

    def rest(number: int, epochs: Sequence[int]) -> float:
        return expected_rest(number, epochs, plan.num_epochs, plan.rungs, plan.reduction_factor or 1.0, reached)

    chains = [rest(0, [epochs]) for epochs in in_progress] + ([rest(1, [])] if to_start else [])
    return rest(to_start, in_progress), chains
