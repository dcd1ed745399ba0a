"""The figure of the metric against a cost."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from distune.reports.page.cost_values import PARETO, CostPoint
from distune.reports.page.figures.figure_style import SMALL_HEIGHT_PX, color_of, new_figure, safe

_FEW_POINTS = 3
"""Up to this number, points have their names beside them and need no legend."""


def draw_costs(points: Sequence[CostPoint], *, metric: str, cost: str) -> go.Figure:
    """Draw points of metric against cost, each with its name where there are few.

    Args:
        points: of a Pareto front, or the three models.
        metric: title of the vertical axis.
        cost: title of the horizontal axis.

    Returns:
        The figure.
    """
    figure = new_figure(x_title=cost, y_title=metric, height=SMALL_HEIGHT_PX)
    for group in dict.fromkeys(point.group for point in points):
        found = [point for point in points if point.group == group]
        is_named = group == PARETO or len(points) <= _FEW_POINTS
        mode = "lines+markers+text" if group == PARETO else "markers+text" if is_named else "markers"
        figure.add_scatter(
            x=[point.cost for point in found],
            y=[point.score for point in found],
            text=[safe(point.name) for point in found],
            customdata=[safe(point.name) for point in found],
            mode=mode,
            textposition="top center",
            name=group,
            marker={"color": color_of(group), "size": 10},
            line={"color": color_of(group), "shape": "hv", "width": 1},
            cliponaxis=False,
            hovertemplate=f"%{{customdata}}: %{{y:.1f}} {safe(metric)}, %{{x:.4g}}<extra></extra>",
        )
    figure.update_layout(margin={"t": 28, "r": 24}, showlegend=len(points) > _FEW_POINTS)
    return figure
