"""Progress of a running study: a live table on a terminal, plain lines elsewhere. The default callback of the API."""

from __future__ import annotations

import contextlib
import dataclasses
import heapq
import math
import time
from collections.abc import Iterator, Sequence

from rich.console import Console, Group
from rich.live import Live

from distune.api.study_progress import StudyProgress
from distune.records import EpochReport, Outcome, TrialRecord, TrialSpec, TrialState
from distune.reports.console import make_console
from distune.reports.tables import trial_rows, trial_table
from distune.study.callback import CallbackList, Decision, StudyCallback

_NUM_SHOWN = 25


@contextlib.contextmanager
def open_callbacks(callbacks: Sequence[StudyCallback] | None) -> Iterator[StudyCallback]:
    """Combine the callbacks of a caller into one; None is a progress display on standard error.

    Args:
        callbacks: receive the events of the block.

    Yields:
        The combined callback.
    """
    if callbacks is not None:
        yield CallbackList(callbacks)
        return
    console = make_console(stderr=True)
    if not console.is_terminal:
        yield PlainProgress(console)
        return
    table = LiveTable(console)
    try:
        yield table
    finally:
        table.close()


class PlainProgress:
    """Prints one line per event.

    Args:
        console: where to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._num_trials = 0
        self._num_ended = 0
        self._metric = ""
        self._study: StudyProgress | None = None
        self._best: str | None = None

    def follow(self, study: StudyProgress | None) -> None:
        """Show the progress of the study as well; None ends that."""
        self._study, self._best = study, None if study is None else study.best()

    def on_session_start(self, num_trials: int) -> None:
        """Remember how many trials there will be, and count from 0."""
        self._num_trials, self._num_ended = num_trials, 0

    def on_trial_start(self, spec: TrialSpec) -> None:
        """Print that the trial started."""
        self._metric = spec.metric
        if self._study is not None:
            self._study.clock.start(spec)
        self._print(f"trial {spec.key}: started")

    def on_epoch_end(self, spec: TrialSpec, report: EpochReport, decision: Decision) -> None:
        """Print the score."""
        if self._study is not None:
            self._study.clock.add(spec, report)
        value = report.metrics.get(spec.metric)
        score = "" if value is None else f"  {spec.metric} {value:.1f}"
        self._print(f"trial {spec.key}: epoch {report.epoch}/{spec.num_epochs}{score}")

    def on_trial_end(self, record: TrialRecord) -> None:
        """Print the outcome, how many trials have ended, the time left, and the best trial if it is a new one."""
        left = ""
        if self._study is not None:
            self._study.end(record)
            left = self._study.left()
        if record.outcome is not Outcome.INTERRUPTED:
            self._num_ended += 1
        value = record.metrics.get(self._metric)
        score = "" if value is None else f", best {self._metric} {value:.1f}"
        reason = "" if record.reason is None else f" ({record.reason})"
        count = f"  [{_count(self._num_ended, self._num_trials, [record])}{left}]" if self._num_trials else ""
        self._print(f"trial {record.key}: {record.outcome}{reason} after {record.epochs} epochs{score}{count}")
        best = None if self._study is None else self._study.best()
        if best is not None and best != self._best:
            self._best = best
            self._print(best)

    def on_message(self, text: str) -> None:
        """Print the message."""
        self._print(text)

    def _print(self, text: str) -> None:
        self._console.print(text)


class LiveTable:
    """Redraws a table of trials while the study runs. It appears with the first trial.

    Args:
        console: where to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._num_trials = 0
        self._metric = ""
        self._started = time.monotonic()
        self._records: dict[str, TrialRecord] = {}
        self._live: Live | None = None
        self._study: StudyProgress | None = None

    def follow(self, study: StudyProgress | None) -> None:
        """Show the progress of the study as well; None ends that."""
        self._study = study

    def on_session_start(self, num_trials: int) -> None:
        """Remember how many trials there will be, and start with an empty table."""
        self._num_trials, self._records, self._started = num_trials, {}, time.monotonic()

    def on_trial_start(self, spec: TrialSpec) -> None:
        """Add a row."""
        self._metric = spec.metric
        if self._study is not None:
            self._study.clock.start(spec)
        self._records[spec.key] = TrialRecord(
            number=spec.number,
            state=TrialState.RUNNING,
            outcome=Outcome.RUNNING,
            control=spec.control,
            epochs=0,
            params=spec.params,
            metrics={},
            seed=spec.seed,
            label=spec.label,
        )
        if self._live is None:
            self._live = Live(get_renderable=self.table, console=self._console, refresh_per_second=2, transient=True)
            self._live.start()

    def on_epoch_end(self, spec: TrialSpec, report: EpochReport, decision: Decision) -> None:
        """Update the row; it keeps the best epoch's metrics."""
        if self._study is not None:
            self._study.clock.add(spec, report)
        record = self._records[spec.key]
        known = record.metrics.get(spec.metric, float("-inf"))
        metrics = report.metrics if report.metrics.get(spec.metric, float("-inf")) > known else record.metrics
        self._records[spec.key] = dataclasses.replace(record, epochs=report.epoch, metrics=metrics)

    def on_trial_end(self, record: TrialRecord) -> None:
        """Put the outcome into the row."""
        if self._study is not None:
            self._study.end(record)
        self._records[record.key] = record

    def on_message(self, text: str) -> None:
        """Print the message above the table."""
        self._console.print(text)

    def close(self) -> None:
        """Remove the table."""
        if self._live is not None:
            self._live.stop()

    def table(self) -> Group:
        """Return the rows that matter most, the running trials, then the best; below them the study so far."""
        records = list(self._records.values())
        num_running = sum(record.outcome is Outcome.RUNNING for record in records)
        minutes = (time.monotonic() - self._started) / 60
        num_ended = len(records) - num_running
        counted = _count(num_ended, self._num_trials, records)
        title = f"{counted}, {num_running} running, {minutes:.1f} min"
        rows = trial_rows(self._candidates(records), self._metric)
        rows.sort(key=lambda row: row.outcome != "running")
        table = trial_table(rows[:_NUM_SHOWN], self._metric, title=title)
        return Group(table, *([] if self._study is None else self._study.lines()))

    def _candidates(self, records: list[TrialRecord]) -> list[TrialRecord]:
        """Return the trials that may be shown: a study of thousands of trials is drawn twice a second."""
        always = [record for record in records if record.control or record.outcome is Outcome.RUNNING]
        others = [record for record in records if not record.control and record.outcome is not Outcome.RUNNING]
        return always + heapq.nlargest(_NUM_SHOWN, others, key=self._score)

    def _score(self, record: TrialRecord) -> float:
        value = record.metrics.get(self._metric, -math.inf)
        return value if math.isfinite(value) else -math.inf


def _count(num_ended: int, num_trials: int, records: Sequence[TrialRecord]) -> str:
    """Return how many trials have ended, or runs of a confirmation, of which there may be fewer than planned."""
    if any(record.label is not None for record in records):
        return f"{num_ended} of at most {num_trials} runs ended"
    return f"{num_ended} of {num_trials} trials ended"
