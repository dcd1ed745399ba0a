"""The timeline of a study."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from distune.reports.page.figures.figure_style import color_of, new_figure, safe
from distune.reports.page.time_values import Span

_MINUTE, _HOUR = 60.0, 3600.0
_ROW_PX, _MARGIN_PX, _MAX_PX = 18, 150, 900


def draw_timeline(spans: Sequence[Span]) -> go.Figure:
    """Draw a row for each trial with a bar for each of its epochs, the first trial at the top.

    Args:
        spans: of ``timeline``.

    Returns:
        The figure.
    """
    end = max(span.begin_s + span.length_s for span in spans)
    unit, name = (
        (_HOUR, "hours") if end > 2 * _HOUR else (_MINUTE, "minutes") if end > 2 * _MINUTE else (1.0, "seconds")
    )
    runs = list(dict.fromkeys(span.run for span in spans))
    height = min(_MAX_PX, _MARGIN_PX + _ROW_PX * len(runs))
    figure = new_figure(x_title=f"{name} since the first epoch began", y_title="trial", height=height)
    for group in dict.fromkeys(span.group for span in spans):
        found = [span for span in spans if span.group == group]
        figure.add_bar(
            orientation="h",
            y=[safe(span.run) for span in found],
            x=[span.length_s / unit for span in found],
            base=[span.begin_s / unit for span in found],
            name=group,
            marker={"color": color_of(group), "line": {"color": "rgba(255,255,255,0.6)", "width": 0.5}},
            hovertemplate="trial %{y}<extra></extra>",
        )
    figure.update_layout(barmode="overlay", bargap=0.25)
    figure.update_yaxes(
        type="category", categoryorder="array", categoryarray=[safe(run) for run in reversed(runs)], title_standoff=4
    )
    return figure
