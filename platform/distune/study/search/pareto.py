"""Which trials no other one beats in everything. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from distune.records import Outcome, TrialRecord


def dominates(first: Sequence[float], second: Sequence[float]) -> bool:
    """Whether ``first`` is nowhere worse than ``second`` and somewhere better; less is better."""
    pairs = list(zip(first, second, strict=True))
    return all(mine <= other for mine, other in pairs) and any(mine < other for mine, other in pairs)


def pareto_front(trials: Sequence[TrialRecord], metric: str, costs: Sequence[str]) -> list[TrialRecord]:
    """The finished trials, controls left out, that no other one beats in metric and costs; the best by metric first.

    Args:
        trials: of a study.
        metric: is maximised.
        costs: metrics that are minimised.
    """
    finished = [trial for trial in trials if trial.outcome is Outcome.FINISHED and not trial.control]
    points = [(-trial.metrics[metric], *(trial.metrics[cost] for cost in costs)) for trial in finished]
    front = [
        trial
        for trial, point in zip(finished, points, strict=True)
        if not any(dominates(other, point) for other in points)
    ]
    return sorted(front, key=lambda trial: (-trial.metrics[metric], trial.number))
