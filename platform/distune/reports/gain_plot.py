"""The figure of a confirmation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distune.evidence.gain import Gain

_SEED, _MEAN = "#1f77b4", "#d62728"
_PANEL_WIDTH = 4.2


@dataclasses.dataclass(frozen=True)
class GainPanel:
    """One comparison: its title, its gain, and the gain as text."""

    title: str
    gain: Gain
    text: str


def draw_gains(panels: Sequence[GainPanel], *, title: str) -> Figure:
    """Draw a panel for each comparison, on one scale: the gain under each seed, and the mean with its interval."""
    figure = Figure(figsize=(max(6.0, _PANEL_WIDTH * len(panels)), 4.4), layout="constrained")
    figure.suptitle(title)
    row = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, panel in zip(row, panels, strict=True):
        _draw(axes, panel)
    row[0].set_ylabel(f"gain in {panels[0].gain.metric}")
    return figure


def _draw(axes: Axes, panel: GainPanel) -> None:
    gain = panel.gain
    names = [str(seed) for seed in gain.by_seed]
    axes.axhline(0.0, color="black", linewidth=1.0)
    axes.plot(names, list(gain.by_seed.values()), "o", color=_SEED, label="one seed")
    spread = [[gain.mean - gain.low], [gain.high - gain.mean]]
    axes.errorbar(["mean"], [gain.mean], yerr=spread, fmt="s", color=_MEAN, capsize=5, label="mean, 95% interval")
    axes.set_title(f"{panel.title}\n{panel.text.split(': undecided')[0]}", fontsize="medium")
    axes.set_xlabel("seed")
    axes.tick_params(axis="x", rotation=45)
    axes.grid(alpha=0.3, axis="y")
    axes.legend(fontsize="small")
