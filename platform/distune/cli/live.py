"""Progress of a running study: a live table on a terminal, plain lines in a log."""

from __future__ import annotations

import contextlib
import dataclasses
import heapq
import math
import time
from collections.abc import Iterator

from rich.live import Live
from rich.table import Table

from distune.cli.output import progress, trial_table
from distune.config.experiment import Experiment
from distune.records import EpochReport, Outcome, TrialRecord, TrialSpec, TrialState
from distune.reports.tables import trial_rows
from distune.study.callback import Decision, StudyCallback

_SHOWN = 25


@contextlib.contextmanager
def watching(experiment: Experiment, metric: str, num_trials: int) -> Iterator[StudyCallback]:
    """Yield a callback that shows the study as a table on a terminal, and as lines elsewhere."""
    total = num_trials + experiment.search.controls
    if not progress.is_terminal:
        yield PlainLines(metric, total)
        return
    board = Board(metric, total)
    with Live(get_renderable=board.table, console=progress, refresh_per_second=2, transient=True):
        yield board


class PlainLines:
    """Prints one line per event."""

    def __init__(self, metric: str, total: int) -> None:
        self._metric = metric
        self._total = total
        self._num_ended = 0

    def on_trial_start(self, spec: TrialSpec) -> None:
        """Print that a trial starts or resumes."""
        progress.print(f"trial {spec.key}: started")

    def on_epoch_end(self, spec: TrialSpec, report: EpochReport, decision: Decision) -> None:
        """Print the score of an epoch."""
        value = report.metrics.get(self._metric)
        score = "" if value is None else f"  {self._metric} {value:.1f}"
        progress.print(f"trial {spec.key}: epoch {report.epoch}/{spec.num_epochs}{score}")

    def on_trial_end(self, record: TrialRecord) -> None:
        """Print the outcome, and how many trials have ended."""
        if record.outcome is not Outcome.INTERRUPTED:
            self._num_ended += 1
        value = record.metrics.get(self._metric)
        score = "" if value is None else f", best {self._metric} {value:.1f}"
        reason = "" if record.reason is None else f" ({record.reason})"
        progress.print(
            f"trial {record.key}: {record.outcome}{reason} after {record.epochs} epochs{score}  "
            f"[{self._num_ended}/{self._total} ended in this session]",
            markup=False,
        )

    def on_message(self, text: str) -> None:
        """Print a message."""
        progress.print(text, markup=False)


class Board:
    """A table of the trials, which ``rich`` draws again and again."""

    def __init__(self, metric: str, total: int) -> None:
        self._metric = metric
        self._total = total
        self._started = time.monotonic()
        self._records: dict[str, TrialRecord] = {}

    def on_trial_start(self, spec: TrialSpec) -> None:
        """Add a row."""
        self._records[spec.key] = TrialRecord(
            number=spec.number,
            state=TrialState.RUNNING,
            outcome=Outcome.RUNNING,
            control=spec.control,
            epochs=0,
            params=spec.params,
            metrics={},
            seed=spec.seed,
        )

    def on_epoch_end(self, spec: TrialSpec, report: EpochReport, decision: Decision) -> None:
        """Update the row: epochs, and the metrics of the best one."""
        record = self._records[spec.key]
        known = record.metrics.get(self._metric, float("-inf"))
        metrics = report.metrics if report.metrics.get(self._metric, float("-inf")) > known else record.metrics
        self._records[spec.key] = dataclasses.replace(record, epochs=report.epoch, metrics=metrics)

    def on_trial_end(self, record: TrialRecord) -> None:
        """Update the row with the outcome."""
        self._records[record.key] = record

    def on_message(self, text: str) -> None:
        """Print a message above the table."""
        progress.print(text, markup=False)

    def table(self) -> Table:
        """Return the table: running trials first, then the best."""
        records = list(self._records.values())
        num_running = sum(record.outcome is Outcome.RUNNING for record in records)
        minutes = (time.monotonic() - self._started) / 60
        title = f"{len(records) - num_running} of {self._total} trials ended, {num_running} running, {minutes:.1f} min"
        rows = trial_rows(self._candidates(records), self._metric)
        rows.sort(key=lambda row: row.outcome != "running")
        return trial_table(rows[:_SHOWN], self._metric, title=title)

    def _candidates(self, records: list[TrialRecord]) -> list[TrialRecord]:
        """Return the trials that may be shown, since a study may have thousands of trials."""
        always = [record for record in records if record.control or record.outcome is Outcome.RUNNING]
        others = [record for record in records if not record.control and record.outcome is not Outcome.RUNNING]
        return always + heapq.nlargest(_SHOWN, others, key=self._score)

    def _score(self, record: TrialRecord) -> float:
        value = record.metrics.get(self._metric, -math.inf)
        return value if math.isfinite(value) else -math.inf
