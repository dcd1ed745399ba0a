"""Learning curves of all trials, grouped by outcome. Pure functions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from distune.records import Outcome, TrialRecord
from distune.reports.page.page_input import StudyFacts

BEST, CONTROL = "best", "control"
GROUPS = (
    Outcome.STOPPED.value,
    Outcome.FAILED.value,
    Outcome.DIVERGED.value,
    Outcome.INTERRUPTED.value,
    Outcome.RUNNING.value,
    Outcome.FINISHED.value,
    CONTROL,
    BEST,
)
"""Groups of curves in the order in which they are drawn, the last one on top."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialCurve:
    """The metric of one trial after each epoch, without values that are not finite."""

    trial: str
    group: str
    epochs: Sequence[int]
    scores: Sequence[float]


def trial_curves(facts: StudyFacts) -> list[TrialCurve]:
    """Return the curves of all trials with a score, in the order of ``GROUPS``."""
    curves = []
    for trial in facts.trials:
        points = [
            (report.epoch, report.metrics[facts.metric])
            for report in facts.reports.get(trial.number, ())
            if report.is_finite(facts.metric)
        ]
        if points:
            epochs, scores = zip(*points, strict=True)
            curves.append(TrialCurve(trial=trial.key, group=_group(trial, facts), epochs=epochs, scores=scores))
    return sorted(curves, key=lambda curve: GROUPS.index(curve.group))


def describe_curves(curves: Sequence[TrialCurve], facts: StudyFacts) -> str:
    """Return the curves in words."""
    parts = []
    for group in reversed(GROUPS):
        ends = [max(curve.scores) for curve in curves if curve.group == group]
        if ends:
            span = f"{ends[0]:.1f}" if len(ends) == 1 else f"{min(ends):.1f} to {max(ends):.1f}"
            parts.append(f"{group}: {span}")
    teacher = "" if facts.teacher_score is None else f"; teacher: {facts.teacher_score:.1f}"
    if teacher and facts.teacher_unknown:
        teacher += f" without {', '.join(facts.teacher_unknown)}, not drawn"
    return f"Highest {facts.metric_title} of each curve: {'; '.join(parts)}{teacher}."


def score_at(facts: StudyFacts, trial: TrialRecord, epoch: int) -> float | None:
    """Return the metric of a trial after an epoch; None if it was not reached or is not finite."""
    for report in facts.reports.get(trial.number, ()):
        if report.epoch == epoch:
            score = report.metrics.get(facts.metric, math.nan)
            return score if math.isfinite(score) else None
    return None


def _group(trial: TrialRecord, facts: StudyFacts) -> str:
    if trial.control:
        return CONTROL
    if facts.winner is not None and trial.number == facts.winner.number:
        return BEST
    return Outcome.RUNNING.value if trial.outcome is Outcome.WAITING else trial.outcome.value
