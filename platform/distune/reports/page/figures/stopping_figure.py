"""The figure of early stopping: scores at each rung against final scores."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from distune.reports.page.figures.figure_style import color_of, new_figure, safe
from distune.reports.page.stopping_values import ComparedTrial, Rung

_COLORS = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#0072b2", "#d55e00")


def draw_rungs(rungs: Sequence[Rung], *, metric: str) -> go.Figure:
    """Draw the score of each finished trial and control at each rung against its final score.

    Args:
        rungs: of ``compare_rungs``.
        metric: of the axes.

    Returns:
        The figure.
    """
    figure = new_figure(x_title=f"{metric} at the rung", y_title=f"final {metric}")
    for index, rung in enumerate(rungs):
        color = _COLORS[index % len(_COLORS)]
        for is_control, symbol in ((False, "circle"), (True, "x")):
            found = [each for each in rung.compared if each.control is is_control]
            if found:
                outline = color_of("control") if is_control else color
                name = f"{'control, ' if is_control else ''}epoch {rung.epoch}"
                figure.add_trace(_trace(found, name, {"symbol": symbol, "color": color, "size": 9}, outline))
    return figure


def _trace(found: Sequence[ComparedTrial], name: str, marker: dict[str, object], outline: str) -> go.Scatter:
    return go.Scatter(
        x=[each.at_rung for each in found],
        y=[each.final for each in found],
        customdata=[safe(each.trial) for each in found],
        mode="markers",
        name=name,
        marker={**marker, "line": {"color": outline, "width": 1}},
        hovertemplate="trial %{customdata}: %{x:.1f} at the rung, %{y:.1f} at the end<extra></extra>",
    )
