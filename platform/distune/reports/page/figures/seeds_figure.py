"""The figure of a confirmation: the gain under each seed, and the mean with its interval."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go

from distune.evidence.gain import Gain
from distune.reports.page.figures.figure_style import SMALL_HEIGHT_PX, color_of, new_figure, safe


def draw_seeds(gains: Mapping[str, Gain]) -> go.Figure:
    """Draw the gain of each seed, and the mean with its interval.

    Args:
        gains: name of a split to the gain on it.

    Returns:
        The figure.
    """
    metric = next(iter(gains.values())).metric
    figure = new_figure(x_title="seed", y_title=f"gain in {metric}", height=SMALL_HEIGHT_PX)
    figure.add_hline(0.0, line={"color": "rgba(128,128,128,0.9)", "width": 1.5})
    colors = (color_of("best"), color_of("stopped"))
    for (split, gain), color in zip(gains.items(), colors, strict=False):
        name = safe(f"{split} split")
        figure.add_scatter(
            x=[str(seed) for seed in gain.by_seed],
            y=list(gain.by_seed.values()),
            mode="markers",
            name=name,
            marker={"color": color, "size": 9},
            hovertemplate="seed %{x}: %{y:+.1f}<extra></extra>",
        )
        figure.add_scatter(
            x=[f"mean, {safe(split)}"],
            y=[gain.mean],
            error_y={"type": "data", "array": [gain.high - gain.mean], "arrayminus": [gain.mean - gain.low]},
            mode="markers",
            name=f"{name}: mean with interval",
            marker={"color": color, "size": 12, "symbol": "square"},
            hovertemplate=f"mean %{{y:+.1f}} [{gain.low:+.1f}, {gain.high:+.1f}]<extra></extra>",
        )
    figure.update_xaxes(type="category")
    return figure
