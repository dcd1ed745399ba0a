"""What a person sees while a study runs: a live table on a terminal, plain lines in a log."""

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
    """A callback that shows the study on the terminal, or in lines where there is none."""
    total = num_trials + experiment.search.controls
    if not progress.is_terminal:
        yield PlainLines(metric, total)
        return
    board = Board(metric, total)
    with Live(get_renderable=board.table, console=progress, refresh_per_second=2, transient=True):
        yield board


class PlainLines:
    """One line per event."""

    def __init__(self, metric: str, total: int) -> None:
        self._metric = metric
        self._total = total
        self._num_ended = 0

    def on_trial_start(self, spec: TrialSpec) -> None:
        """Says so."""
        progress.print(f"trial {spec.key}: started")

    def on_epoch_end(self, spec: TrialSpec, report: EpochReport, decision: Decision) -> None:
        """Says the score."""
        value = report.metrics.get(self._metric)
        score = "" if value is None else f"  {self._metric} {value:.1f}"
        progress.print(f"trial {spec.key}: epoch {report.epoch}/{spec.num_epochs}{score}")

    def on_trial_end(self, record: TrialRecord) -> None:
        """Says how, and how many have ended."""
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
        """Says it."""
        progress.print(text, markup=False)


class Board:
    """A table that is drawn anew while the study goes on."""

    def __init__(self, metric: str, total: int) -> None:
        self._metric = metric
        self._total = total
        self._started = time.monotonic()
        self._records: dict[str, TrialRecord] = {}

    def on_trial_start(self, spec: TrialSpec) -> None:
        """A new row."""
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
        """The row counts on, and keeps the best epoch's metrics."""
        record = self._records[spec.key]
        known = record.metrics.get(self._metric, float("-inf"))
        metrics = report.metrics if report.metrics.get(self._metric, float("-inf")) > known else record.metrics
        self._records[spec.key] = dataclasses.replace(record, epochs=report.epoch, metrics=metrics)

    def on_trial_end(self, record: TrialRecord) -> None:
        """The row says how."""
        self._records[record.key] = record

    def on_message(self, text: str) -> None:
        """A line above the table."""
        progress.print(text, markup=False)

    def table(self) -> Table:
        """The rows that matter most: those running, then the best."""
        records = list(self._records.values())
        num_running = sum(record.outcome is Outcome.RUNNING for record in records)
        minutes = (time.monotonic() - self._started) / 60
        title = f"{len(records) - num_running} of {self._total} trials ended, {num_running} running, {minutes:.1f} min"
        rows = trial_rows(self._candidates(records), self._metric)
        rows.sort(key=lambda row: row.outcome != "running")
        return trial_table(rows[:_SHOWN], self._metric, title=title)

    def _candidates(self, records: list[TrialRecord]) -> list[TrialRecord]:
        """Those that may be shown: a study of thousands of trials is drawn twice a second."""
        always = [record for record in records if record.control or record.outcome is Outcome.RUNNING]
        others = [record for record in records if not record.control and record.outcome is not Outcome.RUNNING]
        return always + heapq.nlargest(_SHOWN, others, key=self._score)

    def _score(self, record: TrialRecord) -> float:
        value = record.metrics.get(self._metric, -math.inf)
        return value if math.isfinite(value) else -math.inf
