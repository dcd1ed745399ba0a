"""Metric against cost: the trials of a Pareto front, or the three models. Pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from distune.records import Outcome
from distune.reports.page.page_blocks import Table
from distune.reports.page.page_input import StudyFacts

PARETO, OTHER, CONTROL = "Pareto front", "other trials", "control"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CostPoint:
    """A trial or a model: its metric and one of its costs."""

    name: str
    group: str
    cost: float
    score: float


def pareto_points(facts: StudyFacts, cost: str) -> list[CostPoint]:
    """Return finished trials and controls with a cost, by ascending cost."""
    points = [
        CostPoint(
            name=trial.key,
            group=CONTROL if trial.control else PARETO if trial.number in facts.pareto_front else OTHER,
            cost=trial.metrics[cost],
            score=trial.metrics[facts.metric],
        )
        for trial in facts.trials
        if trial.outcome is Outcome.FINISHED and cost in trial.metrics and facts.metric in trial.metrics
    ]
    return sorted(points, key=lambda point: point.cost)


def pareto_table(facts: StudyFacts) -> Table:
    """Return the trials on the Pareto front, from the best score down."""
    trials = [trial for trial in facts.searched if trial.number in facts.pareto_front]
    trials.sort(key=lambda trial: -trial.metrics[facts.metric])
    rows = [
        [trial.key, f"{trial.metrics[facts.metric]:.1f}", *(f"{trial.metrics[cost]:.4g}" for cost in facts.costs)]
        for trial in trials
    ]
    return Table(title="Trials on the Pareto front", columns=["trial", facts.metric_title, *facts.costs], rows=rows)


def model_points(facts: StudyFacts) -> Sequence[CostPoint]:
    """Return latency and metric of teacher, control and best student, as far as both are known.

    The metric is on the classes that the teacher knows.
    """
    if facts.sizes is None or facts.winner is None:
        return ()
    scores = facts.shared_scores
    return [
        CostPoint(name=model.name, group=model.name, cost=model.latency_ms, score=score)
        for model in facts.sizes.models
        if (score := scores.get(model.name)) is not None
    ]
