"""Draw docs/images/overview.png: what distune does, from an experiment file to a confirmed student."""

from __future__ import annotations

import itertools
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle

TARGET = Path(__file__).parent / "overview.png"
WIDTH, HEIGHT, BOTTOM, TOP = 13.2, 4.6, 0.75, 4.5
MIDDLE = 2.2
# The colors of Okabe and Ito, which color-blind readers can tell apart.
BLUE, ORANGE, GREEN = "#0072B2", "#E69F00", "#009E73"
DARK_ORANGE, GRAY, INK, PANEL, EDGE = "#8F6200", "#6B727C", "#1F2933", "#F6F7F9", "#D5D9E0"
PANELS = {  # title: left edge, width, caption
    "Experiment": (0.1, 2.05, "one YAML file"),
    "Teacher": (2.55, 2.05, "trained once"),
    "Search": (5.0, 3.3, "Optuna · Ray Tune · ASHA"),
    "Confirmation": (8.7, 2.25, "new seeds, test split"),
    "Student": (11.35, 1.75, "plain torchvision"),
}
EXPERIMENT = """\
data: {...}
teacher: {...}
student: {...}
search:
  space: terms
  num_trials: 30"""


def main() -> None:
    """Draw the picture and write it."""
    mpl.rcParams.update({"font.family": "DejaVu Sans", "text.color": INK})
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=130, facecolor="white")
    canvas = figure.add_axes((0, 0, 1, 1))
    canvas.set(xlim=(0, WIDTH), ylim=(0, HEIGHT))
    canvas.axis("off")
    for title, (left, width, caption) in PANELS.items():
        draw_panel(canvas, left, width, title, caption)
    panels = list(PANELS.values())
    for (left, width, _), (following, _, _) in itertools.pairwise(panels):
        draw_arrow(canvas, left + width, following)
    draw_experiment(canvas)
    draw_teacher(figure)
    draw_search(figure)
    draw_confirmation(figure)
    draw_student(canvas)
    draw_bar(canvas, "MLflow: parameters, curves and pictures of every trial")
    figure.savefig(TARGET)


def draw_panel(axes: Axes, left: float, width: float, title: str, caption: str) -> None:
    """Draw the frame of a step with its title and caption."""
    axes.add_patch(rounded(left, BOTTOM, width, TOP - BOTTOM))
    axes.text(left + width / 2, TOP - 0.37, title, ha="center", va="center", fontsize=16, fontweight="bold")
    axes.text(left + width / 2, TOP - 0.74, caption, ha="center", va="center", fontsize=11.5, color=GRAY)


def draw_bar(axes: Axes, text: str) -> None:
    """Draw what lies below all steps."""
    axes.add_patch(rounded(0.1, 0.1, WIDTH - 0.2, 0.46))
    axes.text(WIDTH / 2, 0.32, text, ha="center", va="center", fontsize=12.5, color=INK)


def draw_arrow(axes: Axes, start: float, end: float) -> None:
    """Draw an arrow between two panels."""
    ends = (start + 0.02, MIDDLE), (end - 0.02, MIDDLE)
    axes.add_patch(
        FancyArrowPatch(*ends, arrowstyle="-|>", mutation_scale=20, linewidth=2.4, color=INK, shrinkA=0, shrinkB=0)
    )


def draw_experiment(axes: Axes) -> None:
    """Show the outline of an experiment file."""
    left = PANELS["Experiment"][0]
    axes.text(left + 0.24, MIDDLE, EXPERIMENT, fontsize=11.5, family="DejaVu Sans Mono", va="center", linespacing=1.6)


def draw_teacher(figure: Figure) -> None:
    """Show the prototypes of three classes among the features of instances."""
    axes = inset(figure, "Teacher", left=0.1, right=0.1)
    generator = np.random.default_rng(11)
    for center, color, marker in (((-1.1, 0.8), BLUE, "o"), ((1.1, 0.9), ORANGE, "s"), ((0.0, -0.9), GREEN, "^")):
        points = np.array(center) + np.clip(generator.normal(scale=0.42, size=(30, 2)), -0.85, 0.85)
        axes.scatter(*points.T, s=18, color=color, alpha=0.4, marker=marker, linewidths=0)
        corners = np.array(center) + 0.42 * np.array([(0, 1), (0.9, -0.5), (-0.9, -0.5)])
        chosen = [int(np.linalg.norm(points - corner, axis=1).argmin()) for corner in corners]
        axes.scatter(*points[chosen].T, s=90, color=color, marker=marker, edgecolors=INK, linewidths=1.4, zorder=3)
    axes.set(xlim=(-2.2, 2.2), ylim=(-2.6, 2.1))
    axes.text(0, -2.25, "prototypes", ha="center", va="center", fontsize=11.5)


def draw_search(figure: Figure) -> None:
    """Show the learning curves of the trials, some of them stopped, and of the control."""
    axes = inset(figure, "Search", left=0.4, right=0.2, bottom=0.42)
    for rung in (2, 4):
        axes.axvline(rung, color=EDGE, linewidth=1.4, linestyle=(0, (4, 3)), zorder=0)
    stopped = ((0.42, 0.5, 2), (0.30, 0.6, 2), (0.5, 0.35, 2), (0.2, 0.5, 2), (0.62, 0.45, 4), (0.54, 0.4, 4))
    for height, rate, last in stopped:
        epochs, values = curve(height, rate, last)
        axes.plot(epochs, values, color=GRAY, linewidth=1.6, alpha=0.7)
        axes.plot(epochs[-1], values[-1], marker="x", markersize=6.5, markeredgewidth=2, color=GRAY)
    for height in (0.86, 0.78):
        axes.plot(*curve(height), color=BLUE, linewidth=1.8, alpha=0.6)
    axes.plot(*curve(0.64), color=ORANGE, linewidth=3, linestyle=(0, (5, 1.5)))
    axes.plot(*curve(1.0), color=BLUE, linewidth=3.4)
    axes.text(8, 1.05, "best trial", ha="right", va="bottom", fontsize=12, color=BLUE, fontweight="bold")
    axes.text(8, 0.54, "control", ha="right", va="top", fontsize=12, color=DARK_ORANGE, fontweight="bold")
    axes.text(4.2, 0.2, "stopped early", ha="left", va="center", fontsize=11.5, color=GRAY)
    axes.set(xlim=(-0.1, 8.2), ylim=(-0.08, 1.25))
    axes.spines[["left", "bottom"]].set_visible(True)
    axes.spines[["left", "bottom"]].set_color(GRAY)
    axes.set_xlabel("epochs", fontsize=11.5, color=GRAY, labelpad=3)
    axes.set_ylabel("AP", fontsize=11.5, color=GRAY, labelpad=3)


def draw_confirmation(figure: Figure) -> None:
    """Show the gain under each seed, and the mean with its interval."""
    axes = inset(figure, "Confirmation", left=0.18, right=0.18)
    gains = np.array([1.1, 2.6, 1.7, 3.0, 1.9])
    axes.axhline(0, color=ORANGE, linewidth=3, linestyle=(0, (5, 1.5)))
    axes.text(-0.6, 0.12, "control", ha="left", va="bottom", fontsize=12, color=DARK_ORANGE, fontweight="bold")
    axes.scatter(range(5), gains, s=55, color=BLUE, zorder=3)
    style = {"fmt": "D", "markersize": 9, "color": GREEN, "linewidth": 3.2, "capsize": 7, "capthick": 3.2, "zorder": 3}
    axes.errorbar(6, gains.mean(), yerr=0.95, **style)
    axes.text(2, -0.32, "seeds", ha="center", va="top", fontsize=12, color=BLUE)
    axes.text(6, -0.32, "gain", ha="center", va="top", fontsize=12, color=GREEN, fontweight="bold")
    axes.set(xlim=(-0.7, 7), ylim=(-1.0, 3.6))


def draw_student(axes: Axes) -> None:
    """Show an image with detections, and the file of the weights."""
    left, width, _ = PANELS["Student"]
    center = left + width / 2
    axes.add_patch(rounded(center - 0.62, 1.75, 1.24, 1.24, facecolor="white"))
    for x, y, radius in ((-0.27, 2.62, 0.2), (0.27, 2.45, 0.15), (-0.12, 2.07, 0.16)):
        axes.add_patch(Circle((center + x, y), radius, facecolor="#C9CED6", edgecolor="none"))
        side = 2 * radius + 0.08
        corner = center + x - side / 2, y - side / 2
        axes.add_patch(Rectangle(corner, side, side, facecolor="none", edgecolor=GREEN, linewidth=2.2))
    axes.text(center, 1.38, "best.pt", ha="center", va="center", fontsize=12, family="DejaVu Sans Mono")


def curve(height: float, rate: float = 0.42, last: float = 8) -> tuple[np.ndarray, np.ndarray]:
    """Return a learning curve that would reach a height after 8 epochs, up to its last epoch."""
    epochs = np.linspace(0, last, 60)
    return epochs, height * (1 - np.exp(-rate * epochs)) / (1 - np.exp(-rate * 8))


def rounded(left: float, bottom: float, width: float, height: float, *, facecolor: str = PANEL) -> FancyBboxPatch:
    """Return a frame with round corners."""
    style = "round,pad=0,rounding_size=0.12"
    return FancyBboxPatch(
        (left, bottom), width, height, boxstyle=style, facecolor=facecolor, edgecolor=EDGE, linewidth=1.3
    )


def inset(figure: Figure, title: str, *, left: float, right: float, bottom: float = 0.1) -> Axes:
    """Return axes in a panel, with margins in inches, without frame and ticks."""
    start, width, _ = PANELS[title]
    low, high = BOTTOM + bottom, TOP - 1.05
    box = (
        (start + left) / WIDTH,
        low / HEIGHT,
        (width - left - right) / WIDTH,
        (high - low) / HEIGHT,
    )
    axes = figure.add_axes(box, facecolor="none")
    axes.set(xticks=[], yticks=[])
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    return axes


if __name__ == "__main__":
    main()
