"""Makes the specification of a trial, and follows a trial through its epochs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from distune.records import EpochReport, Outcome, TrialRecord, TrialSpec, TrialState
from distune.study.failures.retries import Retry
from distune.study.schedulers.asha import rungs

_STATES = {
    Outcome.WAITING: TrialState.WAITING,
    Outcome.RUNNING: TrialState.RUNNING,
    Outcome.INTERRUPTED: TrialState.RUNNING,
    Outcome.FINISHED: TrialState.COMPLETE,
    Outcome.STOPPED: TrialState.PRUNED,
    Outcome.DIVERGED: TrialState.PRUNED,
    Outcome.FAILED: TrialState.FAIL,
}


def best_epoch(reports: Iterable[EpochReport], metric: str) -> EpochReport | None:
    """The first epoch with the highest finite value of the metric. Its weights are the ones that are kept."""
    finite = [report for report in reports if report.is_finite(metric)]
    return max(finite, key=lambda report: report.metrics[metric], default=None)


def rung_reached(scheduler: Mapping[str, Any], *, max_epochs: int, epochs: int) -> int | None:
    """The highest rung that a trial has reached, in epochs; None before the first, and where there are no rungs.

    Args:
        scheduler: its settings, as plain data.
        max_epochs: the whole budget of a trial.
        epochs: how many it has done.
    """
    if scheduler["kind"] != "asha":
        return None
    found = rungs(scheduler["grace_epochs"], max_epochs, scheduler["reduction_factor"])
    return max((rung for rung in found if rung <= epochs), default=None)


class TrialProgress:
    """A trial in progress: what it has reported, and what follows from that.

    Attributes:
        spec: of the trial.
        epochs: how many are done.
        retries: failures after which it was tried again.
    """

    def __init__(self, spec: TrialSpec, metric: str, costs: Sequence[str] = (), retries: Iterable[Retry] = ()) -> None:
        self.spec = spec
        self.epochs = 0
        self.retries = list(retries)
        self._metric, self._costs = metric, costs
        self._best: EpochReport | None = None

    @property
    def is_done(self) -> bool:
        """Whether the whole budget is done."""
        return self.epochs >= self.spec.num_epochs

    @property
    def best_score(self) -> float:
        """The best finite value of the metric, NaN without one."""
        return math.nan if self._best is None else self._best.metrics[self._metric]

    @property
    def objectives(self) -> list[float]:
        """The best score and the costs that go with it, NaN for what is missing."""
        metrics = {} if self._best is None else self._best.metrics
        return [self.best_score, *(metrics.get(name, math.nan) for name in self._costs)]

    def take(self, report: EpochReport) -> None:
        """An epoch is done."""
        self.epochs = report.epoch
        self._best = best_epoch([report] if self._best is None else [self._best, report], self._metric)

    def divergence(self, report: EpochReport) -> str | None:
        """Why this epoch shows that the trial has diverged, None when it does not."""
        watched = [self._metric, *(name for name in report.metrics if name.startswith("loss/"))]
        for name in watched:
            if not report.is_finite(name):
                value = report.metrics.get(name)
                return f"{name} was {'missing' if value is None else value} in epoch {report.epoch}"
        return None

    def record(self, outcome: Outcome, reason: str | None = None) -> TrialRecord:
        """The trial as it stands."""
        return TrialRecord(
            number=self.spec.number,
            state=_STATES[outcome],
            outcome=outcome,
            control=self.spec.control,
            epochs=self.epochs,
            params=dict(self.spec.params),
            metrics={} if self._best is None else dict(self._best.metrics),
            seed=self.spec.seed,
            reason=reason,
            label=self.spec.label,
            rung=self._rung(),
            best_at=None if self._best is None else self._best.finished_at,
        )

    def _rung(self) -> int | None:
        if self.spec.control:
            return None
        scheduler = self.spec.experiment["search"]["scheduler"]
        return rung_reached(scheduler, max_epochs=self.spec.num_epochs, epochs=self.epochs)
