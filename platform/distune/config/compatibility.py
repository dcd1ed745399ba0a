"""Whether a search space and an experiment fit each other. Lists all that does not; raises nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from distune.config.conditions import condition_problems, describe_condition, examples, is_active, resolve
from distune.config.experiment import Experiment
from distune.config.paths import get_path, leaf_paths, with_paths
from distune.config.problems import describe, suggest
from distune.config.sampling import sampler_problems
from distune.config.space import Parameter, SearchSpace
from distune.records import ParameterValue

VARIABLE_SECTIONS = ("student", "distillation", "training")
"""Sections of an experiment that a space may vary within one study: all that does not change the shared stream."""
NOT_VARIABLE = ("training.epochs", "training.batch_size", "training.seed", "training.precision")
"""Of these sections, what students that are trained side by side share: budget, stream, and the precision in which the
teacher looks at a batch and all are evaluated."""
_PRESET = "distillation.preset"


def compatibility_problems(
    *, experiment: Experiment, space: SearchSpace, constants: Mapping[str, ParameterValue]
) -> list[str]:
    """What a space and an experiment have against each other: paths, values, conditions, sampler. A line each.

    Args:
        experiment: checked, with all that is fixed.
        space: checked in itself.
        constants: what conditions can look at and no trial chooses.
    """
    values = experiment.to_dict()
    problems = [
        f"search.fixed: {path}  is not in the space {space.name}; {suggest(path, list(space.parameters))}"
        for path in experiment.search.fixed
        if path not in space.parameters
    ]
    problems += condition_problems(space.parameters, lambda path: get_path(values, path))
    problems += _fixed_problems(experiment, space)
    if not problems:
        searched = resolve(space.parameters, constants)[0]
        for path, parameter in searched.items():
            for around in examples(searched, path):
                problems += _parameter_problems(experiment, path, parameter, around)
        problems += [
            f"search.first[{index}]: {line}"
            for index, given in enumerate(experiment.search.first)
            for line in _given_problems(given, searched)
        ]
        problems += sampler_problems(experiment.search, searched)
        if all(len(parameter.extremes) == 1 for parameter in searched.values()):
            problems.append("search.fixed  leaves nothing to search: every parameter of the space is fixed")
    return list(dict.fromkeys(problems))


def _fixed_problems(experiment: Experiment, space: SearchSpace) -> list[str]:
    values = experiment.to_dict()
    known = _variable_paths(values)
    problems = []
    for path, value in experiment.search.fixed.items():
        if path in space.parameters:
            refusals = (
                _refusals(values, {path: value}) if path in known else [f"{path}  {_why_not(path, values, known)}"]
            )
            problems += refusals
    return problems


def _parameter_problems(
    experiment: Experiment, path: str, parameter: Parameter, around: Mapping[str, ParameterValue]
) -> list[str]:
    """What the experiment has against a parameter, with its parents at values at which it acts."""
    values = experiment.to_dict()
    around = {**experiment.search.fixed, **around}
    refusals = _refusals(values, around)
    if refusals:
        return refusals
    complete = Experiment.model_validate(with_paths(values, around)).to_dict()
    known = _variable_paths(complete)
    if path not in known:
        return [f"{path}  {_why_not(path, complete, known)}"]
    return [line for value in parameter.extremes for line in _refusals(complete, {path: value})]


def _variable_paths(values: dict[str, Any]) -> list[str]:
    return [path for path in leaf_paths(values) if may_vary(path)]


def _given_problems(given: Mapping[str, ParameterValue], searched: Mapping[str, Parameter]) -> list[str]:
    """What is wrong with a configuration to be tried first."""
    problems = []
    for path, value in given.items():
        parameter = searched.get(path)
        if parameter is None:
            problems.append(f"{path}  does not vary; {suggest(path, list(searched))}")
        elif not parameter.contains(value):
            problems.append(
                f"{path} = {value}  is not in the space; a configuration that has been tried can be taken out of "
                "search.first"
            )
        elif not is_active(parameter, given):
            problems.append(f"{path} = {value}  only acts when {describe_condition(parameter)}; say that too")
    return problems


def may_vary(path: str) -> bool:
    """Whether trials of one study may differ in this setting."""
    return path.split(".")[0] in VARIABLE_SECTIONS and path not in (*NOT_VARIABLE, _PRESET)


def _why_not(path: str, values: dict[str, Any], known: list[str]) -> str:
    try:
        found = get_path(values, path)
    except KeyError:
        return f"is not a setting of this experiment; {suggest(path, known)}"
    if isinstance(found, dict):
        return f"is a group of settings; name one of them, such as {path}.{next(iter(found))}"
    if path == _PRESET:
        return "only fills in what the experiment leaves out: another name would change nothing in a trial"
    return "cannot vary within a study: all trials share it"


def _refusals(values: dict[str, Any], changes: Mapping[str, ParameterValue]) -> list[str]:
    values = with_paths(values, changes)
    try:
        Experiment.model_validate(values)
    except ValidationError as error:
        return describe(error, Experiment, values, {})
    return []
