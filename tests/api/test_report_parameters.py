"""Importances and figures by Optuna, and the sentences where there are none."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from distune.api.report_parameters import parameter_plots

WEIGHT, TEMPERATURE, DECAY = (
    "distillation.soft_labels.weight",
    "distillation.soft_labels.temperature",
    "distillation.decay",
)
SPACE = {
    WEIGHT: FloatDistribution(0.01, 10.0, log=True),
    TEMPERATURE: FloatDistribution(1.0, 4.0),
    DECAY: CategoricalDistribution(["linear", "constant"]),
}


def make_study(rows: list[tuple[dict[str, Any], float]], *, costs: bool = False) -> optuna.Study:
    study = optuna.create_study(directions=["maximize", "minimize"] if costs else ["maximize"])
    for params, value in rows:
        values = [value, 1.0 + value] if costs else [value]
        distributions = {path: SPACE[path] for path in params}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, values=values))
    study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.PRUNED))
    return study


def rows(number: int) -> list[tuple[dict[str, Any], float]]:
    return [
        (
            {
                WEIGHT: 0.1 + index % 97 / 10,
                TEMPERATURE: 1.0 + (index * 7 % 5) / 2,
                DECAY: "linear" if index % 2 else "constant",
            },
            10.0 + index,
        )
        for index in range(number)
    ]


@pytest.mark.parametrize("costs", [False, True])
def test_all_figures_of_enough_trials(costs: bool) -> None:
    plots = parameter_plots(make_study(rows(8), costs=costs), metric="AP")
    assert plots.problems == []
    assert list(plots.importances) == ["PED-ANOVA", "fANOVA"]
    assert all(sum(values.values()) == pytest.approx(1.0) for values in plots.importances.values())
    titles = [figure.title for figure in plots.figures]
    assert titles[0] == "Parallel coordinates"
    assert sum(title.startswith("Slice: ") for title in titles) == 3
    assert titles[-1].startswith("Contour")


def test_the_axes_of_parallel_coordinates_have_whole_names_and_visible_lines() -> None:
    plot = parameter_plots(make_study(rows(4)), metric="AP").figures[0].plot
    names = [text.replace("<br>", "") for text in plot.layout.xaxis.ticktext]
    assert names == ["AP", "decay", "soft_labels.temperature", "soft_labels.weight"]
    lines = [trace for trace in plot.data if trace.mode == "lines"]
    assert [trace.customdata[0][0] for trace in lines] == ["AP"] * 4
    best = max(lines, key=lambda trace: trace.y[0])
    worst = min(lines, key=lambda trace: trace.y[0])
    assert best.line.color == "rgb(0, 114, 178)"
    assert worst.line.color == "rgb(230, 159, 0)"


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (rows(0), "Figures of parameters need at least 2 finished trials: 0 have finished."),
        (rows(1), "Figures of parameters need at least 2 finished trials: 1 have finished."),
        (rows(3), "Slices and the contour are left out: 3 finished trials show no shape."),
        ([({WEIGHT: 1.0}, 1.0), ({WEIGHT: 1.0}, 2.0)], "All finished trials have the same parameters"),
    ],
)
def test_a_sentence_says_why_a_figure_is_missing(found: list[tuple[dict[str, Any], float]], problem: str) -> None:
    problems = parameter_plots(make_study(found), metric="AP").problems
    assert any(each.startswith(problem) for each in problems), problems


def test_conditional_parameters_are_named() -> None:
    found = rows(6)
    del found[2][0][TEMPERATURE]
    problems = parameter_plots(make_study(found), metric="AP").problems
    assert any(each.startswith(f"{TEMPERATURE}: not in every finished trial") for each in problems), problems


def test_of_many_trials_the_best_are_shown() -> None:
    plots = parameter_plots(make_study(rows(230)), metric="AP")
    assert plots.problems == ["Figures show the best 200 of 230 finished trials; importances rest on all."]
    points = next(figure.plot.data[0] for figure in plots.figures if figure.title.startswith("Slice"))
    assert len(points.y) == 200
    assert min(points.y) == 40.0
    assert sum(len(figure.plot.to_json()) for figure in plots.figures) < 1_500_000


def test_equal_scores_end_no_report() -> None:
    equal = [(params, 5.0) for params, _ in rows(5)]
    plots = parameter_plots(make_study(equal), metric="AP")
    assert all(value == value for values in plots.importances.values() for value in values.values())  # no NaN


def test_a_refusal_of_optuna_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("no luck")

    monkeypatch.setattr("optuna.visualization.plot_contour", refuse)
    problems = parameter_plots(make_study(rows(5)), metric="AP").problems
    assert problems == ["Contour cannot be computed by Optuna: no luck"]
