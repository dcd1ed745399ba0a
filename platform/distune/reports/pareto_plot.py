"""The figure of a study with several objectives: the metric against each cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True)
class ParetoPoint:
    """A trial: its metric, and its costs in the order of the panels."""

    trial: str
    metric: float
    costs: Sequence[float]
    control: bool
    is_on_pareto_front: bool


def plot_pareto_front(points: Sequence[ParetoPoint], *, title: str, metric: str, costs: Sequence[str]) -> Figure:
    """Draw a panel per cost: trials, controls, and the Pareto front with labels, as a line when there is one cost."""
    figure = Figure(figsize=(5.2 * len(costs), 4.6), layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(1, len(costs), squeeze=False)[0]
    for index, (axes, cost) in enumerate(zip(panels, costs, strict=True)):
        best = sorted((point for point in points if point.is_on_pareto_front), key=lambda point: point.costs[index])
        groups = {
            "trial": ([each for each in points if not each.is_on_pareto_front and not each.control], "o", "#b0b0b0"),
            "Pareto front": (best, "o", "#1f77b4"),
            "control": ([each for each in points if each.control], "x", "black"),
        }
        for label, (group, marker, color) in groups.items():
            axes.scatter(
                [each.costs[index] for each in group],
                [each.metric for each in group],
                marker=marker,
                color=color,
                label=label,
                zorder=3,
            )
        if len(costs) == 1:
            axes.plot(
                [each.costs[0] for each in best],
                [each.metric for each in best],
                color="#1f77b4",
                alpha=0.5,
            )
        for each in best:
            axes.annotate(each.trial, (each.costs[index], each.metric), textcoords="offset points", xytext=(5, 3))
        axes.set_xlabel(cost)
        axes.set_ylabel(metric)
        axes.grid(alpha=0.3)
    panels[0].legend()
    return figure
