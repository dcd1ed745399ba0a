"""Epochs and seconds of a study by outcome, and its timeline. Pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from distune.config.format_value import show_duration
from distune.records import EpochReport, Outcome
from distune.reports.page.page_blocks import Table
from distune.reports.page.page_input import StudyFacts

_EPOCH, _EVALUATION = "time/epoch_s", "time/evaluate_s"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spent:
    """Epochs of a group of runs, such as all trials that were stopped.

    Attributes:
        name: of the group.
        runs: number of runs.
        epochs: trained in all of them.
        seconds: of these epochs, evaluation included; None where no epoch has its time on record.
        evaluation_s: seconds of evaluation alone.
    """

    name: str
    runs: int
    epochs: int
    seconds: float | None
    evaluation_s: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Span:
    """One epoch on the timeline, in seconds since the first one began."""

    run: str
    group: str
    begin_s: float
    length_s: float


def spent_by_outcome(facts: StudyFacts) -> list[Spent]:
    """Return the epochs and seconds of the teacher, of the controls, and of the trials by outcome."""
    groups: dict[str, list[Sequence[EpochReport]]] = {}
    if facts.teacher_reports:
        groups["teacher"] = [facts.teacher_reports]
    for trial in (*facts.controls, *facts.searched):
        if trial.outcome is not Outcome.WAITING:
            name = "control" if trial.control else trial.outcome.value
            groups.setdefault(name, []).append(facts.reports.get(trial.number, ()))
    return [_spent(name, runs, has_time=not facts.simulated) for name, runs in groups.items()]


def evaluation_fraction(spent: Iterable[Spent]) -> float | None:
    """Return the fraction of all seconds that evaluation took; None without measured seconds."""
    measured = [each for each in spent if each.seconds is not None]
    total = sum(each.seconds or 0.0 for each in measured)
    return sum(each.evaluation_s for each in measured) / total if total > 0 else None


def spent_table(spent: Sequence[Spent]) -> Table:
    """Return epochs and time of each group, and of all."""
    total = sum(each.epochs for each in spent)
    rows = [
        [
            each.name,
            f"{each.runs}",
            f"{each.epochs}",
            f"{each.epochs / total:.0%}" if total else "–",
            "–" if each.seconds is None else show_duration(each.seconds),
        ]
        for each in spent
    ]
    known = [each.seconds for each in spent if each.seconds is not None]
    time = show_duration(sum(known)) if known else "–"
    rows.append(["all", f"{sum(each.runs for each in spent)}", f"{total}", "100%" if total else "–", time])
    return Table(
        title="Epochs and time by outcome",
        columns=["outcome", "runs", "epochs", "of all epochs", "time, summed over runs"],
        rows=rows,
        note="Trials that run at the same time count each with their own time.",
    )


def timeline(facts: StudyFacts) -> list[Span]:
    """Return all epochs with a known time, in order; none for a simulated study."""
    if facts.simulated:
        return []
    found = [
        (trial.key, "control" if trial.control else trial.outcome.value, report)
        for trial in facts.trials
        for report in facts.reports.get(trial.number, ())
        if report.is_finite(_EPOCH)
    ]
    begins = [report.finished_at - report.metrics[_EPOCH] for _, _, report in found]
    first = min(begins, default=0.0)
    spans = [
        Span(run=run, group=group, begin_s=begin - first, length_s=report.metrics[_EPOCH])
        for (run, group, report), begin in zip(found, begins, strict=True)
    ]
    return sorted(spans, key=lambda span: span.begin_s)


def _spent(name: str, runs: Sequence[Sequence[EpochReport]], *, has_time: bool) -> Spent:
    reports = [report for run in runs for report in run]
    seconds, evaluation = (
        [report.metrics[metric] for report in reports if report.is_finite(metric)] for metric in (_EPOCH, _EVALUATION)
    )
    return Spent(
        name=name,
        runs=len(runs),
        epochs=len(reports),
        seconds=sum(seconds) if seconds and has_time else None,
        evaluation_s=sum(evaluation),
    )
