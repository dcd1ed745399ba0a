"""The figure of the importances of the searched parameters, and changes to Optuna's own figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from distune.reports.page.figures.figure_style import SMALL_HEIGHT_PX, apply_style, new_figure, safe
from distune.reports.tables import short_name

_COLORS = ("#0072b2", "#e69f00")
_SCALE = [[0.0, "#e69f00"], [0.5, "#8a8a8a"], [1.0, "#0072b2"]]
_ROW_PX = 44
_WRAPPED = 12


def draw_importances(importances: Mapping[str, Mapping[str, float]]) -> go.Figure:
    """Draw a bar for each parameter and evaluator, the most important parameter at the top.

    Args:
        importances: name of an evaluator to the importance of each parameter.

    Returns:
        The figure.
    """
    paths = list(dict.fromkeys(path for values in importances.values() for path in values))
    figure = new_figure(height=120 + _ROW_PX * len(paths))
    for (name, values), color in zip(importances.items(), _COLORS, strict=False):
        figure.add_bar(
            orientation="h",
            x=[float(values.get(path, 0.0)) for path in reversed(paths)],
            y=[_wrapped(path) for path in reversed(paths)],
            name=name,
            marker={"color": color},
            hovertemplate="%{y}: %{x:.2f}<extra></extra>",
        )
    figure.update_layout(barmode="group", legend={"traceorder": "reversed", "y": -28 / (_ROW_PX * len(paths) + 20)})
    figure.update_xaxes(rangemode="tozero")
    return figure


def restyle(figure: go.Figure, *, is_small: bool = False) -> go.Figure:
    """Give a figure of Optuna the style of the page, with short names of the parameters.

    Args:
        figure: of ``optuna.visualization``; it is changed.
        is_small: two of them fit side by side.

    Returns:
        The figure.
    """
    apply_style(figure, height=SMALL_HEIGHT_PX if is_small else 400)
    for axis in (*figure.select_xaxes(), *figure.select_yaxes()):
        if axis.title.text:
            axis.title.text = safe(short_name(axis.title.text))
    return figure


def restyle_parallel(figure: go.Figure, paths: Sequence[str], metric: str) -> go.Figure:
    """Give Optuna's parallel coordinates the style of the page: whole names, and lines that show on any background.

    Args:
        figure: of ``plot_parallel_coordinate``, which draws the axis of the metric first, then a line per trial and the
            parameters in the order of their names; it is changed.
        paths: the parameters.
        metric: of the first axis.

    Returns:
        The figure.
    """
    restyle(figure)
    names = [metric, *sorted(paths)]
    for trace in figure.data:
        if trace.mode == "lines":
            trace.line.color = sample_colorscale(_SCALE, [trace.y[0]])[0]
            trace.opacity = 0.8
            trace.customdata = [[safe(name), each[1]] for name, each in zip(names, trace.customdata, strict=True)]
        else:
            trace.marker.showscale = False
    figure.update_xaxes(ticktext=[_wrapped(name) for name in names], tickfont={"size": 10})
    return figure


def _wrapped(path: str) -> str:
    """Return the short name of a path, broken into lines at its dots and underscores."""
    lines = [""]
    for part in short_name(path).replace(".", ".\n").replace("_", "_\n").split("\n"):
        if len(lines[-1]) + len(part) > _WRAPPED and lines[-1]:
            lines.append("")
        lines[-1] += part
    return "<br>".join(safe(line) for line in lines)
