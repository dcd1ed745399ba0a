"""Average precision on the classes that a teacher knows: on others it has no score to compare with. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from statistics import fmean

from distune.records import Outcome, TrialRecord, best_finished

_AP, _CLASS = "search/AP", "search/AP/"


def unknown_classes(teacher: Mapping[str, float], student: Mapping[str, float]) -> tuple[str, ...]:
    """Return the classes that a student is scored on and its teacher is not.

    Args:
        teacher: metrics of the teacher.
        student: metrics of any trial.

    Returns:
        The classes as metrics name them; none where the teacher has no score of a class on record.
    """
    known = {name for name in teacher if name.startswith(_CLASS)}
    if not known:
        return ()
    return tuple(name.removeprefix(_CLASS) for name in student if name.startswith(_CLASS) and name not in known)


def score_without(metrics: Mapping[str, float], metric: str, unknown: Collection[str]) -> float | None:
    """Return a score on all classes but some.

    Args:
        metrics: of an epoch.
        metric: such as ``search/AP``.
        unknown: the classes that are left out.

    Returns:
        The mean AP of the other classes. None for other metrics, which are not recorded by class.
    """
    if not unknown:
        return metrics.get(metric)
    known = [metrics[name] for name in metrics if name.startswith(_CLASS) and name.removeprefix(_CLASS) not in unknown]
    return fmean(known) if metric == _AP and known and all(map(math.isfinite, known)) else None


def mean_without(trials: Iterable[TrialRecord], metric: str, unknown: Collection[str]) -> float | None:
    """Return the mean of ``score_without`` over trials; None without one that has it."""
    scores = [score for trial in trials if (score := score_without(trial.metrics, metric, unknown)) is not None]
    return fmean(scores) if scores else None


def describe_teacher(
    value: float, metric: str, unknown: Collection[str] = (), trials: Sequence[TrialRecord] = ()
) -> str:
    """Describe the score of a teacher in a line.

    Args:
        value: its score, on the classes that it knows.
        metric: such as ``search/AP``.
        unknown: classes that it does not know.
        trials: of the study, controls included.

    Returns:
        The score; where the teacher does not know a class also those of control and best trial on the same classes.
    """
    line = f"teacher: {metric} {value:.1f}"
    if not unknown:
        return line
    best = best_finished(trials, metric)
    finished = [trial for trial in trials if trial.control and trial.outcome is Outcome.FINISHED]
    others = {
        "control": mean_without(finished, metric, unknown),
        "best trial": mean_without([] if best is None else [best], metric, unknown),
    }
    shown = ", ".join(f"{name} {score:.1f}" for name, score in others.items() if score is not None)
    line += f" on the classes that it knows, without {', '.join(unknown)}"
    return f"{line}; on the same classes: {shown}" if shown else line
