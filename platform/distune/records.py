"""Values that cross borders between training, study and tracking. Free of torch, Ray, Optuna and MLflow."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Iterable
from statistics import fmean
from typing import Any

ParameterValue = str | int | float | bool | None


class Outcome(enum.StrEnum):
    """How a trial stands, in the user's words. ``TrialState`` says the same in Optuna's."""

    WAITING = "waiting"
    RUNNING = "running"
    INTERRUPTED = "interrupted"  # not running now; `distune resume` continues it
    FINISHED = "finished"  # trained for its whole budget
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
    """What a trial says at the end of an epoch.

    Attributes:
        epoch: epochs done by now, from 1.
        metrics: metric name to value. Values may be NaN or infinite; ``is_finite`` says so.
        finished_at: seconds since 1970 when the epoch ended. It is the time stamp of these points in MLflow, so that
            sending them again stores them once.
    """

    epoch: int
    metrics: dict[str, float]
    finished_at: float

    def is_finite(self, metric: str) -> bool:
        """Whether this epoch has a finite value of ``metric``."""
        return math.isfinite(self.metrics.get(metric, math.nan))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary; ``from_dict`` turns it back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EpochReport:
        """The inverse of ``to_dict``. Raises ``KeyError`` on a missing key."""
        metrics = {str(name): float(value) for name, value in values["metrics"].items()}
        return cls(epoch=int(values["epoch"]), metrics=metrics, finished_at=float(values["finished_at"]))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialSpec:
    """All that a worker needs to train one trial. Made of plain values, so that it can be sent to another machine.

    Attributes:
        study: name of the study.
        number: Optuna number of the trial; controls count -1, -2, ...
        control: whether this trial trains without distillation.
        seed: seed of the student's weights and of everything random in its training.
        num_epochs: its whole budget.
        params: the searched paths and their values.
        experiment: the resolved experiment of this trial, with ``params`` put in, as plain data.
        folder: where the trial keeps its metrics and checkpoints.
        teacher_weights: file of the teacher's weights, None for controls and simulated trials.
        label: the key of a run that repeats a trial under another seed; None for the trials of the search.
        tags: what such a run is tagged with besides.
        data_fingerprint: of the data that such a run is trained on; None where nobody asks, and when it is simulated.
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
        """Names the trial within its study: ``"17"``, or ``"control-1"``, or its label."""
        return trial_key(self.number) if self.label is None else self.label

    @property
    def metric(self) -> str:
        """The study's metric as reports name it, such as ``search/AP``."""
        return search_metric(self.experiment["search"]["metric"])


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """A trial as the study remembers it.

    Attributes:
        number: Optuna number; controls, which Optuna does not search over, count -1, -2, ...
        state: Optuna's word.
        outcome: the user's word.
        control: whether it trained without distillation.
        epochs: how many it did.
        params: the searched paths and their values; empty for a control.
        metrics: all metrics of its best epoch by the study's metric, empty before the first report.
        seed: of the student.
        reason: why it failed or diverged, None otherwise.
        label: the key of a run that repeats a trial under another seed; None for the trials of the search.
        rung: the highest rung that it has reached, in epochs; None before the first, and for controls, which are not
            judged.
        best_at: seconds since 1970 when its best epoch ended, None before the first report.
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

    @property
    def key(self) -> str:
        """Names the trial within its study: ``"17"``, or ``"control-1"``, or its label."""
        return trial_key(self.number) if self.label is None else self.label

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return dataclasses.asdict(self)


def search_metric(name: str) -> str:
    """Return the name under which reports hold a metric of the search split: ``search/AP`` for ``AP``."""
    return f"search/{name}"


def trial_key(number: int) -> str:
    """The name of a trial within its study, which is also its folder and its tag in MLflow."""
    return f"control-{-number}" if number < 0 else str(number)


def control_score(trials: Iterable[TrialRecord], metric: str) -> float | None:
    """What a gain is measured against: the mean over the finished controls of their best epoch's value.

    None as long as no control has finished.
    """
    finished = [trial for trial in trials if trial.control and trial.outcome is Outcome.FINISHED]
    return fmean(trial.metrics[metric] for trial in finished) if finished else None
