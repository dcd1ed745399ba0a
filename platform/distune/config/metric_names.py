"""Names of the metrics that a study reports and optimizes."""

from __future__ import annotations

from distune.config.experiment import Experiment
from distune.config.search import cost_metric
from distune.records import search_metric


def metric_name(experiment: Experiment) -> str:
    """Return the name in reports of the study's metric, which is maximized, such as ``search/AP``."""
    return search_metric(experiment.search.metric)


def cost_names(experiment: Experiment) -> tuple[str, ...]:
    """Return the names in reports of the costs, which are minimized; empty for a single objective."""
    return tuple(cost_metric(cost) for cost in experiment.search.costs)
