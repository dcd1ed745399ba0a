"""Progress of a trial: its epochs, its best epoch, and the record that follows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from distune.distillation.epoch_warnings import EpochWarnings
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
    """Return the first epoch with the highest finite value of the metric; ``best.pt`` is of this epoch."""
    finite = [report for report in reports if report.is_finite(metric)]
    return max(finite, key=lambda report: report.metrics[metric], default=None)


def rung_reached(scheduler: Mapping[str, Any], *, max_epochs: int, epochs: int) -> int | None:
    """Return the highest rung that a trial has reached.

    Args:
        scheduler: settings of the scheduler, as plain data.
        max_epochs: epochs of a whole trial.
        epochs: number of epochs done.

    Returns:
        The rung in epochs; None before the first, and for schedulers without rungs.
    """
    if scheduler["kind"] != "asha":
        return None
    found = rungs(scheduler["grace_epochs"], max_epochs, scheduler["reduction_factor"])
    return max((rung for rung in found if rung <= epochs), default=None)


class TrialProgress:
    """A trial in progress.

    Args:
        spec: of the trial.
        metric: name of the metric that is maximized.
        costs: names of the metrics that are minimized.
        retries: failures after which it was tried again.

    Attributes:
        spec: of the trial.
        epochs: number of epochs done.
        retries: failures after which it was tried again.
    """

    def __init__(self, spec: TrialSpec, metric: str, costs: Sequence[str] = (), retries: Iterable[Retry] = ()) -> None:
        self.spec = spec
        self.epochs = 0
        self.retries = list(retries)
        self._metric, self._costs = metric, costs
        self._best: EpochReport | None = None
        self._warnings = EpochWarnings(spec.experiment.get("distillation", {}))

    @property
    def is_done(self) -> bool:
        """True when all epochs are done."""
        return self.epochs >= self.spec.num_epochs

    @property
    def best_score(self) -> float:
        """The best finite value of the metric, NaN without one."""
        return math.nan if self._best is None else self._best.metrics[self._metric]

    @property
    def objectives(self) -> list[float]:
        """The best score and the costs in the same epoch, NaN for missing ones."""
        metrics = {} if self._best is None else self._best.metrics
        return [self.best_score, *(metrics.get(name, math.nan) for name in self._costs)]

    def add_epoch(self, report: EpochReport) -> list[str]:
        """Record an epoch, and return the warnings that it is the first to give."""
        self.epochs = report.epoch
        self._best = best_epoch([report] if self._best is None else [self._best, report], self._metric)
        return self._warnings.add(report.epoch, report.metrics)

    def divergence(self, report: EpochReport) -> str | None:
        """Return why this epoch shows that the trial has diverged, None when it does not."""
        return report.divergence(self._metric)

    def record(self, outcome: Outcome, reason: str | None = None) -> TrialRecord:
        """Return the record of the trial."""
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
            warnings=dict(self._warnings.by_kind),
        )

    def _rung(self) -> int | None:
        if self.spec.control:
            return None
        scheduler = self.spec.experiment["search"]["scheduler"]
        return rung_reached(scheduler, max_epochs=self.spec.num_epochs, epochs=self.epochs)
