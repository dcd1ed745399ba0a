"""Loads experiments and search spaces: find the file, read it, apply ``--set``, check everything, fill in defaults."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from distune.config.data import ShapesData
from distune.config.experiment import Experiment
from distune.config.paths import get_path, leaf_paths, merge, with_path
from distune.config.problems import FROM_COMMAND_LINE, describe, suggest
from distune.config.shipped import find_file
from distune.config.space import SearchSpace
from distune.config.yaml import parse_value, read_yaml
from distune.errors import ConfigError, UsageError
from distune.records import ParameterValue

VARIABLE_SECTIONS = ("student", "distillation", "training")
"""Sections of an experiment that a space may vary within one study: all that does not change the shared stream."""
NOT_VARIABLE = ("training.epochs", "training.batch_size", "training.seed")
_PRESET = "distillation.preset"

_NO_SPACE = SearchSpace.model_construct(name="none", parameters={})


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoadedExperiment:
    """An experiment with its search space, both checked, and checked against each other."""

    experiment: Experiment
    space: SearchSpace
    source: str

    @property
    def varied(self) -> dict[str, Any]:
        """The parameters of the space that are not fixed."""
        fixed = self.experiment.search.fixed
        return {path: parameter for path, parameter in self.space.parameters.items() if path not in fixed}


def load(name: str | Path, assignments: Sequence[str] = (), *, check_space: bool = True) -> LoadedExperiment:
    """Load an experiment by its shipped name or its path.

    Args:
        name: such as ``quickstart`` or ``mine/experiment.yaml``.
        assignments: ``path=value`` each, applied in order over the file; the value is read as YAML.
        check_space: whether the search space must exist and fit. ``distune train`` does without.

    Raises:
        ConfigError: with all problems of the file; nothing has been written.
        UsageError: an assignment is not of the form ``path=value``.
    """
    path = find_file(str(name), "experiments")
    values, lines = read_yaml(path)
    for assignment in assignments:
        target, separator, text = assignment.partition("=")
        if not separator or not target:
            raise UsageError(f"--set {assignment}: write it as path=value, such as training.epochs=3")
        values = with_path(values, target.strip(), parse_value(text))
        lines[target.strip()] = FROM_COMMAND_LINE
    source = str(path) + (" with --set" if assignments else "")
    return from_dict(values, source=source, folder=path.parent, lines=lines, check_space=check_space)


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
    _check_fit(experiment, parsed, source)
    return LoadedExperiment(experiment=experiment, space=parsed, source=source)


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


def trial_experiment(experiment: Experiment, params: Mapping[str, ParameterValue]) -> dict[str, Any]:
    """The experiment of one trial as plain data: the study's, with the chosen values put in.

    Raises:
        ConfigError: the values do not go together, such as an adapter that does not fit the chosen channels.
    """
    values = experiment.to_dict()
    for path, value in {**experiment.search.fixed, **params}.items():
        values = with_path(values, path, value)
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
    if name is None or ("_Weights." in name and "/" not in name):
        return name
    return str(Path(name).expanduser().absolute())


def _check_fit(experiment: Experiment, space: SearchSpace, source: str) -> None:
    """Every path of the space must be a setting of this experiment, and every value one that it accepts."""
    values = experiment.to_dict()
    known = [path for path in leaf_paths(values) if may_vary(path)]
    problems: list[str] = []
    for path, parameter in space.parameters.items():
        if path not in known:
            problems.append(f"{path}  {_why_not(path, values, known)}")
            continue
        for value in parameter.extremes:
            problems += _refusals(values, path, value)
    for path, value in experiment.search.fixed.items():
        if path not in space.parameters:
            problems.append(
                f"search.fixed: {path}  is not in the space {space.name}; {suggest(path, list(space.parameters))}"
            )
        else:
            problems += _refusals(values, path, value)
    if not problems and set(space.parameters) <= set(experiment.search.fixed):
        problems.append("search.fixed  leaves nothing to search: every parameter of the space is fixed")
    if problems:
        raise ConfigError(f"{source}, search space {space.name}", list(dict.fromkeys(problems)))


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


def _refusals(values: dict[str, Any], path: str, value: ParameterValue) -> list[str]:
    try:
        Experiment.model_validate(merge(values, with_path({}, path, value)))
    except ValidationError as error:
        return describe(error, Experiment, with_path(values, path, value), {})
    return []
