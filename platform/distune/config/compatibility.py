"""Checks a search space against an experiment. Returns all problems; raises nothing."""

from __future__ import annotations

import collections
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from distune.config.conditions import condition_problems, describe_condition, examples, is_active, resolve
from distune.config.experiment import Experiment
from distune.config.format_value import format_value
from distune.config.paths import get_path, leaf_paths, with_paths
from distune.config.problems import describe, suggest_setting
from distune.config.renamed import current_path, current_values
from distune.config.sampling import sampler_problems
from distune.config.space import Parameter, SearchSpace
from distune.errors import MAX_PROBLEMS_SHOWN
from distune.records import ParameterValue

VARIABLE_SECTIONS = ("student", "distillation", "training")
"""Sections of an experiment that a space may search: those that do not change the data."""
NOT_VARIABLE = (
    "training.epochs",
    "training.batch_size",
    "training.seed",
    "training.precision",
    "training.half_teacher_maps",
)
"""Settings of these sections that all trials share, since students are trained side by side on the same batches: the
budget, the batches, and the precision of the teacher, of its maps and of the evaluation."""
_PRESET = "distillation.preset"
_known_compatible: collections.deque[str] = collections.deque(maxlen=32)
"""Checks without a problem. A command reads the files of a study several times."""


def compatibility_problems(
    *, experiment: Experiment, space: SearchSpace, constants: Mapping[str, ParameterValue]
) -> list[str]:
    """Check paths, values, conditions and sampler of a search space against an experiment.

    Args:
        experiment: a valid experiment, with all constants of the space in ``search.fixed``.
        space: a valid search space.
        constants: values that conditions may refer to and that are the same in all trials.

    Returns:
        A line for each problem. Parameters after the first 20 problems are not checked.
    """
    values = experiment.to_dict()
    checked = repr((values, space, constants))
    if checked in _known_compatible:
        return []
    problems = [
        f"search.fixed.{path}  is not in the space {space.name}; {suggest_setting(path, list(space.parameters))}"
        for path in experiment.search.fixed
        if path not in space.parameters
    ]
    problems += condition_problems(space.parameters, lambda path: get_path(values, current_path(path)))
    problems += _fixed_problems(experiment, space)
    if not problems:
        searched = resolve(space.parameters, constants)[0]
        for path, parameter in searched.items():
            if len(problems) > MAX_PROBLEMS_SHOWN:  # each check takes milliseconds, and a large space has thousands
                break
            for around in examples(searched, path):
                problems += _parameter_problems(experiment, path, parameter, around)
        problems += [
            f"search.initial_configurations[{index}]: {line}"
            for index, given in enumerate(experiment.search.initial_configurations)
            for line in _initial_configuration_problems(given, searched)
        ]
        problems += sampler_problems(experiment.search, searched)
        if all(len(parameter.extremes) == 1 for parameter in searched.values()):
            problems.append("search.fixed  fixes every parameter of the space, so there is nothing to search")
    if not problems:
        _known_compatible.append(checked)
    return list(dict.fromkeys(problems))


def _fixed_problems(experiment: Experiment, space: SearchSpace) -> list[str]:
    values = experiment.to_dict()
    problems = []
    for path, value in experiment.search.fixed.items():
        if path in space.parameters:
            problems += _path_problems(path, values) or _value_problems(values, {path: value})
    return problems


def _parameter_problems(
    experiment: Experiment, path: str, parameter: Parameter, around: Mapping[str, ParameterValue]
) -> list[str]:
    """Check a parameter, with its parents at values ``around`` with which it is active."""
    values = experiment.to_dict()
    around = current_values({**experiment.search.fixed, **around})
    problems = _value_problems(values, around)
    if problems:
        return problems
    complete = Experiment.model_validate(with_paths(values, around)).to_dict()
    return _path_problems(path, complete) or [
        line for value in parameter.extremes for line in _value_problems(complete, {path: value})
    ]


def _initial_configuration_problems(
    given: Mapping[str, ParameterValue], searched: Mapping[str, Parameter]
) -> list[str]:
    problems: list[str] = []
    for path, value in given.items():
        parameter = searched.get(path)
        if parameter is None:
            known = list(searched) if len(problems) < MAX_PROBLEMS_SHOWN else []
            problems.append(f"{path}  is not searched; {suggest_setting(path, known)}")
        elif not parameter.contains(value):
            problems.append(
                f"{path} = {format_value(value)}  is not in the space; configurations that have been tried can be "
                "removed from search.initial_configurations"
            )
        elif not is_active(parameter, given):
            problems.append(
                f"{path} = {format_value(value)}  is only active when {describe_condition(parameter)}; give that value "
                "as well"
            )
    return problems


def may_vary(path: str) -> bool:
    """Return whether trials of one study may differ in this setting."""
    return path.split(".")[0] in VARIABLE_SECTIONS and path not in (*NOT_VARIABLE, _PRESET)


def _path_problems(path: str, values: dict[str, Any]) -> list[str]:
    """Return why a path cannot be searched, as at most one line."""
    path = current_path(path)
    known = [each for each in leaf_paths(values) if may_vary(each)]
    return [] if path in known else [f"{path}  {_why_not(path, values, known)}"]


def _why_not(path: str, values: dict[str, Any], known: list[str]) -> str:
    try:
        found = get_path(values, path)
    except KeyError:
        return f"is not a setting of this experiment; {suggest_setting(path, known)}"
    if isinstance(found, dict):
        return f"is a group of settings; name one of them, such as {path}.{next(iter(found))}"
    if path == _PRESET:
        return (
            "only fills in settings that the experiment leaves out, so another preset would change nothing in a trial"
        )
    return "cannot be searched: it must be the same in all trials of a study"


def _value_problems(values: dict[str, Any], changes: Mapping[str, ParameterValue]) -> list[str]:
    values = with_paths(values, current_values(changes))
    try:
        Experiment.model_validate(values)
    except ValidationError as error:
        return describe(error, Experiment, values, {})
    return []
