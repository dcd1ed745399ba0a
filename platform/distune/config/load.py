"""Loads experiments and search spaces: find the file, read it, apply ``--set``, check everything, fill in defaults."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from distune.config.compatibility import compatibility_problems
from distune.config.conditions import constant_values, resolve
from distune.config.data import ShapesData
from distune.config.experiment import Experiment, without_distillation
from distune.config.paths import get_path, leaf_paths, merge, with_path, with_paths
from distune.config.pretrained import is_torchvision_name
from distune.config.problems import FROM_COMMAND_LINE, describe
from distune.config.shipped import find_file
from distune.config.space import Choice, Parameter, SearchSpace
from distune.config.yaml import parse_value, read_yaml
from distune.errors import ConfigError, UsageError
from distune.records import ParameterValue

_NO_SPACE = SearchSpace.model_construct(name="none", parameters={})


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoadedExperiment:
    """An experiment with its search space, both checked, and checked against each other."""

    experiment: Experiment
    space: SearchSpace
    source: str

    @property
    def searched(self) -> dict[str, Parameter]:
        """The parameters that trials choose, parents before children: neither fixed nor inactive."""
        return resolve(self.space.parameters, self.constants)[0]

    @property
    def inactive(self) -> dict[str, str]:
        """Parameters of the space that can never act in this experiment, each with the reason."""
        return resolve(self.space.parameters, self.constants)[1]

    @property
    def constants(self) -> dict[str, ParameterValue]:
        """What conditions can look at and no trial chooses: fixed paths, and settings that are not in the space."""
        values = self.experiment.to_dict()
        parents = {parent for parameter in self.space.parameters.values() for parent in parameter.when}
        own = {path: get_path(values, path) for path in leaf_paths(values) if path in parents}
        own = {path: value for path, value in own.items() if path not in self.space.parameters}
        return {**own, **self.experiment.search.fixed}


def load(
    name: str | Path,
    assignments: Sequence[str] = (),
    *,
    fixed: Sequence[str] = (),
    space: dict[str, Any] | None = None,
    check_space: bool = True,
) -> LoadedExperiment:
    """Load an experiment by its shipped name or its path.

    Args:
        name: such as ``quickstart`` or ``mine/experiment.yaml``.
        assignments: ``path=value`` each, applied in order over the file; the value is read as YAML.
        fixed: ``path=value`` each, put into ``search.fixed``.
        space: the search space as plain data; None finds it by the experiment's ``search.space``.
        check_space: whether the search space must exist and fit. ``distune train`` does without.

    Raises:
        ConfigError: with all problems of the file; nothing has been written.
        UsageError: an assignment is not of the form ``path=value``.
    """
    path = find_file(str(name), "experiments")
    values, lines = read_yaml(path)
    for assignment in assignments:
        target, value = _assigned("--set", assignment)
        values = with_path(values, target, value)
        lines[target] = FROM_COMMAND_LINE
    if fixed:
        # Not by `with_path`: the key is a path itself.
        values = merge(values, {"search": {"fixed": dict(_assigned("--fix", assignment) for assignment in fixed)}})
        lines["search.fixed"] = FROM_COMMAND_LINE
    changes = [option for option, given in (("--set", assignments), ("--fix", fixed)) if given]
    source = str(path) + (f" with {' and '.join(changes)}" if changes else "")
    return from_dict(values, source=source, folder=path.parent, lines=lines, space=space, check_space=check_space)


def _assigned(option: str, assignment: str) -> tuple[str, Any]:
    target, separator, text = assignment.partition("=")
    if not separator or not target.strip():
        raise UsageError(f"{option} {assignment}: write it as path=value, such as training.epochs=3")
    return target.strip(), parse_value(text)


def from_dict(
    values: dict[str, Any],
    *,
    source: str,
    folder: Path | None = None,
    lines: Mapping[str, int] | None = None,
    space: dict[str, Any] | None = None,
    check_space: bool = True,
) -> LoadedExperiment:
    """Check an experiment given as plain data, with its space given or found by name. Raises ``ConfigError``."""
    experiment = _with_absolute_paths(parse_experiment(values, source=source, lines=lines))
    if not check_space:
        return LoadedExperiment(experiment=experiment, space=_NO_SPACE, source=source)
    if space is not None:
        parsed = parse_space(space, source=f"{source}: space")
    else:
        space_path = find_file(experiment.search.space, "search_spaces", folder=folder)
        space_values, space_lines = read_yaml(space_path)
        parsed = parse_space(space_values, source=str(space_path), lines=space_lines)
    loaded = _with_constants(LoadedExperiment(experiment=experiment, space=parsed, source=source))
    problems = compatibility_problems(experiment=loaded.experiment, space=loaded.space, constants=loaded.constants)
    if problems:
        raise ConfigError(f"{source}, search space {parsed.name}", problems)
    return loaded


def parse_experiment(values: dict[str, Any], *, source: str, lines: Mapping[str, int] | None = None) -> Experiment:
    """Check plain data against the experiment's schema. Raises ``ConfigError`` with every problem."""
    try:
        return Experiment.model_validate(values)
    except ValidationError as error:
        raise ConfigError(source, describe(error, Experiment, values, lines or {})) from None


def parse_space(values: dict[str, Any], *, source: str, lines: Mapping[str, int] | None = None) -> SearchSpace:
    """Check plain data against the space's schema. Raises ``ConfigError`` with every problem."""
    try:
        return SearchSpace.model_validate(values)
    except ValidationError as error:
        raise ConfigError(source, describe(error, SearchSpace, values, lines or {})) from None


def trial_experiment(
    experiment: Experiment, params: Mapping[str, ParameterValue], *, is_control: bool = False
) -> dict[str, Any]:
    """The experiment of one trial as plain data: the study's, with the chosen values put in.

    A control's is without distillation, so that it need not go together with the chosen values.

    Raises:
        ConfigError: the values do not go together, such as an adapter that does not fit the chosen channels.
    """
    values = with_paths(experiment.to_dict(), {**experiment.search.fixed, **params})
    if is_control:
        values = without_distillation(values)
    return parse_experiment(values, source="the trial's settings").to_dict()


def _with_absolute_paths(experiment: Experiment) -> Experiment:
    """Paths as they are meant now: workers and later sessions may run in other folders."""
    changes: dict[str, Any] = {
        role: detector.model_copy(
            update={"weights": _absolute(detector.weights), "backbone_weights": _absolute(detector.backbone_weights)}
        )
        for role, detector in (("teacher", experiment.teacher), ("student", experiment.student))
    }
    if not isinstance(experiment.data, ShapesData):
        changes["data"] = experiment.data.model_copy(update={"root": _absolute(experiment.data.root)})
    return experiment.model_copy(update=changes)


def _absolute(name: str | None) -> str | None:
    """A path made absolute; None and torchvision's names, such as ``ResNet50_Weights.DEFAULT``, as they are."""
    if name is None or is_torchvision_name(name):
        return name
    return str(Path(name).expanduser().absolute())


def _with_constants(loaded: LoadedExperiment) -> LoadedExperiment:
    """Everything that has one value in one place: what the space gives alone is fixed.

    A parameter with a condition is not fixed as a whole: it becomes one with a single value, which is put in where the
    condition holds.
    """
    experiment, parameters = loaded.experiment, dict(loaded.space.parameters)
    fixed = {**constant_values(parameters), **experiment.search.fixed}
    for path, value in experiment.search.fixed.items():
        if path in parameters and parameters[path].when:
            parameters[path] = Choice(kind="choice", values=[value], when=parameters[path].when)
            del fixed[path]
    search = experiment.search.model_copy(update={"fixed": fixed})
    return dataclasses.replace(
        loaded,
        experiment=experiment.model_copy(update={"search": search}),
        space=loaded.space.model_copy(update={"parameters": parameters}),
    )
