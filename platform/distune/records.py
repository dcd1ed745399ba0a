"""Records that training, study and tracking share. Independent of torch, Ray, Optuna and MLflow."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Iterable
from statistics import fmean
from typing import Any

ParameterValue = str | int | float | bool | None


class Outcome(enum.StrEnum):
    """Outcome of a trial, as shown to users; ``TrialState`` is Optuna's equivalent."""

    WAITING = "waiting"
    RUNNING = "running"
    INTERRUPTED = "interrupted"  # not running; `distune resume` continues it
    FINISHED = "finished"  # all epochs done
    STOPPED = "stopped"  # by the scheduler, at a rung
    DIVERGED = "diverged"  # its loss or its metric was not finite
    FAILED = "failed"


class TrialState(enum.StrEnum):
    """Optuna's states."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    FAIL = "FAIL"


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpochReport:
    """Metrics of a trial at the end of an epoch.

    Attributes:
        epoch: number of the epoch, from 1.
        metrics: metric name to value, which may be NaN or infinite; see ``is_finite``.
        finished_at: seconds since 1970 when the epoch ended. It is the timestamp of these points in MLflow, so that
            points that are sent twice are stored once.
    """

    epoch: int
    metrics: dict[str, float]
    finished_at: float

    def is_finite(self, metric: str) -> bool:
        """Return whether this epoch has a finite value of ``metric``."""
        return math.isfinite(self.metrics.get(metric, math.nan))

    def divergence(self, metric: str) -> str | None:
        """Return the first loss that is not finite, or ``metric``, with its value and epoch; None when all are."""
        losses = sorted(
            (name for name in self.metrics if name.startswith("loss/")), key=lambda name: name != "loss/task"
        )
        for name in (*losses, metric):
            if not self.is_finite(name):
                value = self.metrics.get(name)
                return f"{name} was {'missing' if value is None else value} in epoch {self.epoch}"
        return None

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary, the inverse of ``from_dict``."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EpochReport:
        """Create a report from a dictionary, the inverse of ``to_dict``. Raises ``KeyError`` on a missing key."""
        metrics = {str(name): float(value) for name, value in values["metrics"].items()}
        return cls(epoch=int(values["epoch"]), metrics=metrics, finished_at=float(values["finished_at"]))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialSpec:
    """Specification of a trial, with everything that a worker needs. Holds plain values, to be sent to other machines.

    Attributes:
        study: name of the study.
        number: Optuna number of the trial; controls count -1, -2, ...
        control: whether the trial trains without distillation.
        seed: of the student's weights and of everything random in its training.
        num_epochs: epochs of the whole trial.
        params: searched path to value.
        experiment: the resolved experiment of this trial, ``params`` included, as plain data.
        folder: of the trial's metrics and checkpoints.
        teacher_weights: file of the teacher's weights, None for controls and simulated trials.
        label: key of a run that repeats a trial with another seed; None for trials of the search.
        tags: additional tags of such a run.
        data_fingerprint: of the data that such a run, or a student without a search, is trained on; None for trials of
            the search and simulated runs.
    """

    study: str
    number: int
    control: bool
    seed: int
    num_epochs: int
    params: dict[str, ParameterValue]
    experiment: dict[str, Any]
    folder: str
    teacher_weights: str | None
    label: str | None = None
    tags: dict[str, str] = dataclasses.field(default_factory=dict)
    data_fingerprint: str | None = None

    @property
    def key(self) -> str:
        """Name of the trial within its study: ``"17"``, ``"control-1"``, or its label."""
        return trial_key(self.number) if self.label is None else self.label

    @property
    def metric(self) -> str:
        """The study's metric as reports name it, such as ``search/AP``."""
        return search_metric(self.experiment["search"]["metric"])


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """Record of a trial.

    Attributes:
        number: Optuna number; controls, which Optuna does not search over, count -1, -2, ...
        state: Optuna's state.
        outcome: the same for users.
        control: whether it trained without distillation.
        epochs: number of epochs done.
        params: searched path to value; empty for a control.
        metrics: all metrics of the best epoch by the study's metric, empty before the first report.
        seed: of the student.
        reason: why it failed or diverged, None otherwise.
        label: key of a run that repeats a trial with another seed; None for trials of the search.
        rung: the highest rung reached, in epochs; None before the first, and for controls, which are never stopped.
        best_at: seconds since 1970 when the best epoch ended, None before the first report.
        warnings: the first warning of each kind about its distillation, text by kind.
    """

    number: int
    state: TrialState
    outcome: Outcome
    control: bool
    epochs: int
    params: dict[str, ParameterValue]
    metrics: dict[str, float]
    seed: int
    reason: str | None = None
    label: str | None = None
    rung: int | None = None
    best_at: float | None = None
    warnings: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def key(self) -> str:
        """Name of the trial within its study: ``"17"``, ``"control-1"``, or its label."""
        return trial_key(self.number) if self.label is None else self.label

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary, the inverse of ``from_dict``."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrialRecord:
        """Return the record of a dictionary from ``to_dict``. Raises ``KeyError``, ``TypeError``, ``ValueError``."""
        state, outcome = TrialState(values["state"]), Outcome(values["outcome"])
        return cls(**{**values, "state": state, "outcome": outcome})


def search_metric(name: str) -> str:
    """Return the name under which reports hold a metric of the search split: ``search/AP`` for ``AP``."""
    return f"search/{name}"


def trial_key(number: int) -> str:
    """Return the name of a trial within its study, which is also its folder and its tag in MLflow."""
    return f"control-{-number}" if number < 0 else str(number)


def control_score(trials: Iterable[TrialRecord], metric: str) -> float | None:
    """Return the reference of gains: the mean of the metric in the best epochs of the finished controls.

    Args:
        trials: of a study.
        metric: name of the metric.

    Returns:
        The mean; None while no control has finished.
    """
    finished = [trial for trial in trials if trial.control and trial.outcome is Outcome.FINISHED]
    scores = [trial.metrics[metric] for trial in finished if metric in trial.metrics]
    return fmean(scores) if scores else None


def gain_over(control: float | None, trial: TrialRecord, metric: str) -> float | None:
    """Return the gain of a trial: its best epoch minus the controls' mean.

    Args:
        control: as returned by ``control_score``.
        trial: any trial.
        metric: name of the metric.

    Returns:
        The difference. None without a control, for controls, and for trials that did not train for the whole budget: a
        trial that was stopped early cannot be compared with the control.
    """
    value = trial.metrics.get(metric, math.nan)
    if control is None or trial.control or trial.outcome is not Outcome.FINISHED or not math.isfinite(value):
        return None
    return value - control


def best_finished(trials: Iterable[TrialRecord], metric: str) -> TrialRecord | None:
    """Return the finished searched trial with the highest metric; None while none has finished."""
    finished = (trial for trial in trials if trial.outcome is Outcome.FINISHED and not trial.control)
    searched = (trial for trial in finished if metric in trial.metrics)
    return max(searched, key=lambda trial: trial.metrics[metric], default=None)
