"""Names of the metrics that a study reports and optimizes."""

from __future__ import annotations

from distune.config.experiment import Experiment
from distune.config.search import cost_metric
from distune.records import search_metric


def metric_name(experiment: Experiment) -> str:
    """The study's metric as it is called in reports, such as ``search/AP``. It is maximised."""
    return search_metric(experiment.search.metric)


def cost_names(experiment: Experiment) -> tuple[str, ...]:
    """What is minimised beside the metric, as it is called in reports; empty for a single objective."""
    return tuple(cost_metric(cost) for cost in experiment.search.costs)
