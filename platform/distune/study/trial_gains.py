"""Gains of trials over the controls, which change as long as controls finish."""

from __future__ import annotations

import math
from collections.abc import Iterable

from distune.records import Outcome, TrialRecord, control_score, gain_over
from distune.study.search.stored_trial import StoredTrial


class TrialGains:
    """The gains of a study's trials, brought up to date by each trial that ends.

    Args:
        ended: trials of earlier sessions.
        metric: of the study, such as ``search/AP``.
    """

    def __init__(self, ended: Iterable[TrialRecord], metric: str) -> None:
        self._records = {record.number: record for record in ended}
        # Read after each trial: the cost of a trial does not depend on the number of those before it.
        self._controls = {number: record for number, record in self._records.items() if record.control}
        self._metric = metric

    def add(self, record: TrialRecord) -> list[tuple[TrialRecord, float]]:
        """Add a trial that has ended.

        Args:
            record: of the trial.

        Returns:
            The trials whose gain is new or another one: the trial itself, or after a control all that have one.
        """
        self._records[record.number] = record
        if record.control:
            self._controls[record.number] = record
        if record.control and record.outcome is not Outcome.FINISHED:
            return []
        changed = self._records.values() if record.control else [record]
        found = [(each, self.of(each)) for each in changed]
        return [(each, gain) for each, gain in found if gain is not None]

    def of(self, record: TrialRecord) -> float | None:
        """Return the gain of a trial over the controls so far; None where it has none."""
        return gain_over(control_score(self._controls.values(), self._metric), record, self._metric)


def ended_records(stored: Iterable[StoredTrial], metric: str) -> list[TrialRecord]:
    """Return the finished trials of earlier sessions with their best scores, without their other metrics."""
    records = []
    for trial in stored:
        scores = [score for score in trial.scores.values() if math.isfinite(score)]
        if trial.outcome is Outcome.FINISHED and scores:
            records.append(
                TrialRecord(
                    number=trial.number,
                    state=trial.state,
                    outcome=trial.outcome,
                    control=trial.number < 0,
                    epochs=max(trial.scores),
                    params=trial.params,
                    metrics={metric: max(scores)},
                    seed=0,
                )
            )
    return records


def gain_metric(metric: str, gain: float) -> dict[str, float]:
    """Return a gain under its name in MLflow: ``gain/AP`` for ``search/AP``."""
    return {f"gain/{metric.partition('/')[2]}": gain}
