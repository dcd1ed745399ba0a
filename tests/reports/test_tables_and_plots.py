"""The table of trials, and the content of the three figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.patches import Rectangle

from distune.evidence.gain import Gain
from distune.records import Outcome, ParameterValue, TrialRecord, TrialState, control_score
from distune.reports.gain_plot import GainPanel, draw_gains
from distune.reports.pareto_plot import ParetoPoint, plot_pareto_front
from distune.reports.plots import Curve, draw_study, save_figure
from distune.reports.tables import show_params, trial_rows

METRIC = "search/AP"


def record(number: int, value: float | None, outcome: Outcome = Outcome.FINISHED, **changes: Any) -> TrialRecord:
    fields: dict[str, Any] = {
        "number": number,
        "state": TrialState.COMPLETE,
        "outcome": outcome,
        "control": number < 0,
        "epochs": 3,
        "params": {},
        "metrics": {} if value is None else {METRIC: value},
        "seed": 0,
    }
    return TrialRecord(**{**fields, **changes})


def test_controls_come_first_then_the_best() -> None:
    rows = trial_rows([record(0, 10.0), record(1, 12.04), record(-1, 11.0), record(2, None, Outcome.FAILED)], METRIC)
    assert [row.trial for row in rows] == ["control-1", "1", "0", "2"]
    assert [row.gain for row in rows] == ["", "+1.0", "-1.0", ""]
    assert [row.score for row in rows] == ["11.0", "12.0", "10.0", ""]


def test_the_gain_is_against_the_mean_of_the_finished_controls() -> None:
    trials = [record(-1, 10.0), record(-2, 14.0), record(-3, 90.0, Outcome.INTERRUPTED), record(0, 15.0)]
    assert control_score(trials, METRIC) == 12.0
    assert trial_rows(trials, METRIC)[-1].gain == "+3.0"
    assert control_score([record(0, 15.0)], METRIC) is None
    assert trial_rows([record(0, 15.0)], METRIC)[0].gain == ""


@pytest.mark.parametrize("outcome", [Outcome.STOPPED, Outcome.RUNNING, Outcome.INTERRUPTED])
def test_a_trial_without_the_whole_budget_has_a_score_but_no_gain(outcome: Outcome) -> None:
    row = trial_rows([record(-1, 10.0), record(0, 4.0, outcome)], METRIC)[-1]
    assert (row.score, row.gain) == ("4.0", "")


def test_values_and_reasons_are_readable() -> None:
    params: dict[str, ParameterValue] = {
        "distillation.filter.local_threshold": 0.123456,
        "distillation.decay": "linear",
        "distillation.prototypes.unique": True,
    }
    assert show_params(params) == "filter.local_threshold=0.123  decay=linear  prototypes.unique=true"
    row = trial_rows([record(0, None, Outcome.DIVERGED, reason="loss/task was nan in epoch 2")], METRIC)[0]
    assert row.outcome == "diverged: loss/task was nan in epoch 2"


def test_the_figure_draws_every_curve_and_the_teacher(tmp_path: Path) -> None:
    curves = [
        Curve("control-1", Outcome.FINISHED, True, [1, 2], [3.0, 4.0]),
        Curve("0", Outcome.STOPPED, False, [1], [2.0]),
        Curve("1", Outcome.FINISHED, False, [1, 2], [5.0, 6.0]),
    ]
    figure = draw_study(curves, title="study", metric=METRIC, teacher=9.0)
    left, right = figure.axes
    drawn = {tuple(np.asarray(line.get_ydata()).tolist()) for line in left.lines}
    assert {(3.0, 4.0), (2.0,), (5.0, 6.0), (9.0, 9.0)} <= drawn
    assert sorted(patch.get_width() for patch in right.patches if isinstance(patch, Rectangle)) == [2.0, 4.0, 6.0]
    save_figure(figure, tmp_path / "deep" / "study.png")
    assert (tmp_path / "deep" / "study.png").stat().st_size > 1000


def test_the_figure_of_a_confirmation_draws_seeds_mean_and_interval() -> None:
    gain = Gain(
        metric="AP",
        mean=1.5,
        low=0.5,
        high=2.5,
        student=31.5,
        control=30.0,
        by_seed={1000: 1.0, 1001: 2.0},
        num_images=50,
        error_seeds=0.5,
        error_images=0.0,
    )
    panels = [GainPanel("trial 3", gain, "gain +1.5 AP: undecided, since"), GainPanel("trial 4", gain, "none")]
    figure = draw_gains(panels, title="study")
    assert len(figure.axes) == 2
    axes = figure.axes[0]
    assert axes.get_title() == "trial 3\ngain +1.5 AP"
    drawn = {tuple(np.asarray(line.get_ydata()).tolist()) for line in axes.lines}
    assert {(0.0, 0.0), (1.0, 2.0), (1.5,)} <= drawn
    (bar,) = [collection.get_segments() for collection in axes.collections if isinstance(collection, LineCollection)]
    assert np.asarray(bar)[0][:, 1].tolist() == [0.5, 2.5]


def test_the_pareto_figure_draws_each_trial_once_and_names_the_front() -> None:
    points = [
        ParetoPoint("0", 10.0, [5.0], False, True),
        ParetoPoint("1", 9.0, [3.0], False, True),
        ParetoPoint("2", 8.0, [4.0], False, False),
        ParetoPoint("control-1", 7.0, [5.0], True, False),
    ]
    figure = plot_pareto_front(points, title="study", metric=METRIC, costs=["student/flops"])
    (axes,) = figure.axes
    drawn = {group.get_label(): np.asarray(group.get_offsets()).tolist() for group in axes.collections}
    assert drawn == {"trial": [[4.0, 8.0]], "Pareto front": [[3.0, 9.0], [5.0, 10.0]], "control": [[5.0, 7.0]]}
    assert [text.get_text() for text in axes.texts] == ["1", "0"]
    assert [np.asarray(line.get_xdata()).tolist() for line in axes.lines] == [[3.0, 5.0]]
    two = plot_pareto_front([], title="study", metric=METRIC, costs=["student/flops", "student/latency_ms"])
    assert [axes.get_xlabel() for axes in two.axes] == ["student/flops", "student/latency_ms"]
    assert not any(list(axes.lines) for axes in two.axes)
