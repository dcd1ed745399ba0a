"""Pareto front of a study's trials. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from distune.records import Outcome, TrialRecord


def dominates(first: Sequence[float], second: Sequence[float]) -> bool:
    """Return whether ``first`` is nowhere worse than ``second`` and somewhere better; lower is better."""
    pairs = list(zip(first, second, strict=True))
    return all(one <= other for one, other in pairs) and any(one < other for one, other in pairs)


def pareto_front(trials: Sequence[TrialRecord], metric: str, costs: Sequence[str]) -> list[TrialRecord]:
    """Return the finished trials that no other finished trial dominates, without controls.

    Args:
        trials: of a study.
        metric: name of the metric to maximize.
        costs: names of the metrics to minimize.

    Returns:
        The trials of the Pareto front, highest metric first. A trial whose costs are unknown is not among them.
    """
    finished = [
        trial
        for trial in trials
        if trial.outcome is Outcome.FINISHED
        and not trial.control
        and all(name in trial.metrics for name in (metric, *costs))  # a trial's folder may be lost
    ]
    points = [(-trial.metrics[metric], *(trial.metrics[cost] for cost in costs)) for trial in finished]
    non_dominated = [
        trial
        for trial, point in zip(finished, points, strict=True)
        if not any(dominates(other, point) for other in points)
    ]
    return sorted(non_dominated, key=lambda trial: (-trial.metrics[metric], trial.number))
