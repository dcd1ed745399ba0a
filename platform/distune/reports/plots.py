"""The figure of a study: learning curves and ranking."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distune.records import Outcome

_COLOURS = {
    Outcome.FINISHED: "#1f77b4",
    Outcome.STOPPED: "#ff9f40",
    Outcome.DIVERGED: "#d62728",
    Outcome.FAILED: "#d62728",
}


@dataclasses.dataclass(frozen=True)
class Curve:
    """The metric of one trial by epoch."""

    trial: str
    outcome: Outcome
    control: bool
    epochs: Sequence[int]
    values: Sequence[float]


def draw_study(curves: Sequence[Curve], *, title: str, metric: str, teacher: float | None) -> Figure:
    """Draw two panels: the curve of every trial, and the best value of each beside the controls and the teacher."""
    figure = Figure(figsize=(12, 4.8), layout="constrained")
    figure.suptitle(title)
    left, right = figure.subplots(1, 2)
    _draw_curves(left, curves, metric, teacher)
    _draw_ranking(right, curves, metric, teacher)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _draw_curves(axes: Axes, curves: Sequence[Curve], metric: str, teacher: float | None) -> None:
    for curve in sorted(curves, key=lambda each: each.control):
        style = {"color": "black", "linewidth": 2.2, "linestyle": "--"} if curve.control else _style(curve.outcome)
        axes.plot(curve.epochs, curve.values, marker="o", markersize=3, **style)
    for label, style in (
        ("control", {"color": "black", "linestyle": "--"}),
        ("finished", _style(Outcome.FINISHED)),
        ("stopped early", _style(Outcome.STOPPED)),
    ):
        axes.plot([], [], label=label, **style)
    if teacher is not None:
        axes.axhline(teacher, color="#2ca02c", linestyle=":", label="teacher")
    axes.set_xlabel("epoch")
    axes.set_ylabel(metric)
    axes.grid(alpha=0.3)
    axes.legend()


def _draw_ranking(axes: Axes, curves: Sequence[Curve], metric: str, teacher: float | None) -> None:
    best = sorted((max(curve.values), index) for index, curve in enumerate(curves) if curve.values)
    names = [curves[index].trial for _, index in best]
    colors = ["black" if curves[index].control else _style(curves[index].outcome)["color"] for _, index in best]
    axes.barh(names, [value for value, _ in best], color=colors)
    if teacher is not None:
        axes.axvline(teacher, color="#2ca02c", linestyle=":")
    axes.set_xlabel(f"best {metric}")
    axes.set_ylabel("trial")
    axes.grid(alpha=0.3, axis="x")


def _style(outcome: Outcome) -> dict[str, Any]:
    return {"color": _COLOURS.get(outcome, "#999999")}
