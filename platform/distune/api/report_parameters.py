"""Importances and figures of the searched parameters, by Optuna, for the report page."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from distune.reports.page.figures.figure_style import color_of
from distune.reports.page.figures.importance_figure import restyle, restyle_parallel
from distune.reports.page.page_blocks import Figure
from distune.reports.page.page_input import ParameterPlots
from distune.reports.tables import short_name

if TYPE_CHECKING:
    import optuna

_SEED = 0
_MAX_SLICES, _MAX_SHOWN = 8, 200
_MIN_TRIALS, _MIN_FOR_SHAPES = 2, 4
_AXIS_PX = 64


def parameter_plots(study: optuna.Study, *, metric: str) -> ParameterPlots:
    """Compute importances, and draw parallel coordinates, slices and a contour of the finished trials.

    Args:
        study: the searched trials.
        metric: title of the values.

    Returns:
        The figures. What cannot be computed is a sentence in ``problems``.
    """
    trials = [trial for trial in study.trials if trial.values is not None and all(map(math.isfinite, trial.values))]
    if len(trials) < _MIN_TRIALS:
        problem = f"Figures of parameters need at least {_MIN_TRIALS} finished trials: {len(trials)} have finished."
        return ParameterPlots(problems=[problem])
    paths = _parameters(study)
    changing = [path for path in paths if len({trial.params.get(path) for trial in trials}) > 1]
    if not changing:
        return ParameterPlots(
            problems=["All finished trials have the same parameters, so there is nothing to compare."]
        )
    problems: list[str] = []
    importances = _importances(study, problems)
    in_all = set.intersection(*(set(trial.params) for trial in trials))
    conditional = [path for path in paths if path not in in_all]
    if conditional:
        problems.append(
            f"{', '.join(conditional)}: not in every finished trial, because of a condition, so importances leave "
            f"{'it' if len(conditional) == 1 else 'them'} out."
        )
    ranked = sorted(changing, key=lambda path: -max((each.get(path, 0.0) for each in importances.values()), default=0))
    if len(trials) > _MAX_SHOWN:
        problems.append(
            f"Figures show the best {_MAX_SHOWN} of {len(trials)} finished trials; importances rest on all."
        )
        study = _best_trials(study, trials)
    figures = list(_figures(study, ranked, metric, len(trials), problems))
    return ParameterPlots(importances=importances, figures=figures, problems=problems)


def _best_trials(study: optuna.Study, trials: list[optuna.trial.FrozenTrial]) -> optuna.Study:
    """Return a study of the best trials: the size of a contour grows with the square of their number."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    best = optuna.create_study(directions=study.directions)
    optuna.logging.set_verbosity(verbosity)
    best.add_trials(sorted(trials, key=lambda trial: -trial.values[0])[:_MAX_SHOWN])
    return best


def _importances(study: optuna.Study, problems: list[str]) -> dict[str, dict[str, float]]:
    from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator, get_param_importances

    evaluators = {"PED-ANOVA": PedAnovaImportanceEvaluator(), "fANOVA": FanovaImportanceEvaluator(seed=_SEED)}
    found = {}
    for name, evaluator in evaluators.items():
        compute = partial(get_param_importances, study, evaluator=evaluator, target=_target(study))
        values = _attempt(f"{name} importances", compute, problems)
        if values is not None and all(math.isfinite(value) for value in values.values()):
            found[name] = {path: float(value) for path, value in values.items()}
        elif values is not None:
            problems.append(f"{name} importances are missing: the finished trials do not differ enough.")
    return found


def _figures(
    study: optuna.Study, paths: list[str], metric: str, num_trials: int, problems: list[str]
) -> Iterator[Figure]:
    from optuna.visualization import plot_contour, plot_parallel_coordinate, plot_slice

    target = _target(study)
    if len(paths) > 1:
        draw = partial(plot_parallel_coordinate, study, params=paths, target=target, target_name=metric)
        plot = _attempt("Parallel coordinates", draw, problems)
        if plot is not None:
            words = f"Each finished trial is a line through its {metric} and its parameters {', '.join(paths)}."
            yield Figure(
                title="Parallel coordinates",
                description=words,
                plot=restyle_parallel(plot, paths, metric),
                min_width=_AXIS_PX * (len(paths) + 1),
            )
    if num_trials < _MIN_FOR_SHAPES:
        problems.append(f"Slices and the contour are left out: {num_trials} finished trials show no shape.")
        return
    for path in paths[:_MAX_SLICES]:
        draw = partial(plot_slice, study, params=[path], target=target, target_name=metric)
        plot = _attempt(f"Slice of {path}", draw, problems)
        if plot is not None:
            plot.update_traces(marker={"showscale": False, "size": 8, "color": color_of("best")})
            yield Figure(
                title=f"Slice: {short_name(path)}",
                description=f"{metric} of each finished trial by its {path}.",
                plot=restyle(plot, is_small=True),
                is_small=True,
            )
    if len(paths) > 1:
        draw = partial(plot_contour, study, params=paths[:2], target=target, target_name=metric)
        plot = _attempt("Contour", draw, problems)
        if plot is not None:
            words = f"{metric} over {paths[0]} and {paths[1]}, interpolated between the finished trials, the points."
            yield Figure(title="Contour of the two most important", description=words, plot=restyle(plot))


def _attempt(name: str, compute: Callable[[], Any], problems: list[str]) -> Any:
    """Return a figure or importances of Optuna; add a sentence and return None if it refuses."""
    logger = logging.getLogger("optuna")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return compute()
    except (ValueError, RuntimeError, ArithmeticError, IndexError, KeyError) as error:
        problems.append(f"{name} cannot be computed by Optuna: {error}")
        return None
    finally:
        logger.setLevel(level)


def _target(study: optuna.Study) -> Callable[[optuna.trial.FrozenTrial], float] | None:
    """Return the metric of a trial in a study with costs; None where it is the only objective."""
    return None if len(study.directions) == 1 else lambda trial: float(trial.values[0])


def _parameters(study: optuna.Study) -> list[str]:
    return list(dict.fromkeys(path for trial in study.trials for path in trial.params))
