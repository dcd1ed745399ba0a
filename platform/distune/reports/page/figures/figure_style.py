"""The style of all figures of the page: colors, margins, and a legend below. The page's CSS sets the color of text."""

from __future__ import annotations

from html import escape

import plotly.graph_objects as go

COLORS = {
    "best": "#0072b2",
    "control": "#d55e00",
    "teacher": "#009e73",
    "finished": "#56b4e9",
    "stopped": "#9a9a9a",
    "failed": "#cc3311",
    "diverged": "#aa3377",
    "interrupted": "#ccaa00",
    "running": "#ccaa00",
    "student": "#0072b2",
    "Pareto front": "#0072b2",
    "other trials": "#9a9a9a",
}
"""Names of groups to colors that the common kinds of color blindness tell apart (Okabe and Ito)."""
HEIGHT_PX = 380
SMALL_HEIGHT_PX = 320
_LEGEND_PX, _FRAME_PX = 58, 130
"""Distance of the legend below the axis, and height of what is not the plot."""
_GRID = "rgba(128,128,128,0.25)"
_TEXT = "#777777"


def new_figure(*traces: object, x_title: str = "", y_title: str = "", height: int = HEIGHT_PX) -> go.Figure:
    """Return a figure in the style of the page.

    Args:
        *traces: of Plotly.
        x_title: of the horizontal axis.
        y_title: of the vertical axis.
        height: in pixels.

    Returns:
        The figure.
    """
    figure = go.Figure(list(traces))
    apply_style(figure, height=height)
    figure.update_xaxes(title_text=x_title)
    figure.update_yaxes(title_text=y_title)
    return figure


def apply_style(figure: go.Figure, *, height: int = HEIGHT_PX) -> None:
    """Give a figure the style of the page, also one that Optuna has drawn.

    A finger that moves over it scrolls the page instead of zooming the figure.
    """
    figure.update_layout(
        template="none",
        title=None,
        height=height,
        autosize=True,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 12, "color": _TEXT},
        margin={"l": 48, "r": 12, "t": 16, "b": 44},
        legend={"orientation": "h", "x": 0, "y": -_LEGEND_PX / (height - _FRAME_PX), "yanchor": "top"},
        dragmode=False,
        hovermode="closest",
    )
    axis = {"gridcolor": _GRID, "zerolinecolor": _GRID, "linecolor": _GRID, "automargin": True, "fixedrange": True}
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)


def safe(text: str) -> str:
    """Return foreign text for a figure: Plotly takes some markup in text."""
    return escape(text, quote=False)


def color_of(group: str) -> str:
    """Return the color of a group."""
    return COLORS.get(group, "#9a9a9a")
