"""The figure of the learning curves."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from distune.reports.page.curve_values import BEST, CONTROL, GROUPS, TrialCurve
from distune.reports.page.figures.figure_style import color_of, new_figure, safe

_NAMES = {"stopped": "stopped early"}
_LINES: dict[str, dict[str, float | str]] = {BEST: {"width": 3.5}, CONTROL: {"width": 3.0, "dash": "dash"}}

_NUM_TICKS = 8


def draw_curves(
    curves: Sequence[TrialCurve],
    *,
    metric: str,
    num_epochs: int,
    rungs: Sequence[int],
    teacher: float | None,
) -> go.Figure:
    """Draw the curves of all trials.

    Args:
        curves: of ``trial_curves``.
        metric: title of the vertical axis.
        num_epochs: epochs of a whole trial.
        rungs: epochs that are marked by a line.
        teacher: score of the teacher, drawn as a line; None without one.

    Returns:
        The figure.
    """
    figure = new_figure(x_title="epoch", y_title=metric)
    for group in GROUPS:
        found = [curve for curve in curves if curve.group == group]
        if found:
            figure.add_trace(_trace(found, group))
    if teacher is not None:
        line = {"color": color_of("teacher"), "dash": "dot", "width": 2}
        figure.add_scatter(x=[1, num_epochs], y=[teacher] * 2, mode="lines", name="teacher", line=line)
    for rung in rungs:
        line = {"color": "rgba(128,128,128,0.7)", "dash": "dot", "width": 1}
        figure.add_vline(
            rung, line=line, annotation={"text": f"rung {rung}", "font": {"size": 10}, "y": 0, "yanchor": "bottom"}
        )
    figure.update_xaxes(range=[0.8, num_epochs + 0.2], dtick=max(1, round(num_epochs / _NUM_TICKS)), tick0=0)
    return figure


def _trace(curves: Sequence[TrialCurve], group: str) -> go.Scatter:
    """Draw the curves of a group as one line with gaps: a hundred trials need few entries in the legend."""
    epochs: list[int | None] = []
    scores: list[float | None] = []
    names: list[str] = []
    for curve in curves:
        epochs += [*curve.epochs, None]
        scores += [*(round(score, 3) for score in curve.scores), None]
        names += [safe(curve.trial)] * (len(curve.epochs) + 1)
    name = _NAMES.get(group, group)
    if len(curves) == 1 and group in (BEST, CONTROL):
        name = f"best: trial {safe(curves[0].trial)}" if group == BEST else group
    return go.Scatter(
        x=epochs,
        y=scores,
        customdata=names,
        mode="lines+markers",
        name=name,
        line={"color": color_of(group), "width": 1.2, **_LINES.get(group, {})},
        marker={"size": 6 if group in _LINES else 4},
        opacity=1.0 if group in _LINES else 0.75,
        hovertemplate="trial %{customdata}, epoch %{x}: %{y:.1f}<extra></extra>",
    )
