"""Loads experiments with their search spaces: from a file, from plain data, or from objects made in Python."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from distune.config import renamed
from distune.config.compatibility import compatibility_problems
from distune.config.conditions import constant_values, resolve
from distune.config.data import GeneratedData
from distune.config.experiment import Experiment, without_distillation
from distune.config.milestones import milestone_rows
from distune.config.paths import get_path, leaf_paths, merge, with_path, with_paths, without_path
from distune.config.pretrained import is_torchvision_name
from distune.config.problems import FIXED_PREFIX, FixedOption, Line, describe, describe_rows, place_lines, wrong_paths
from distune.config.search import SearchSettings
from distune.config.shipped import find_file
from distune.config.space import Choice, Parameter, SearchSpace
from distune.config.training import clipping_rows
from distune.config.yaml import read_yaml
from distune.errors import MAX_PROBLEMS_SHOWN, ConfigError, UsageError
from distune.records import ParameterValue

_REPAIRS = 3
"""Number of times that mistakes are taken out of an experiment to check the rest: others may show up behind them."""
_GRACE_EPOCHS = "search.scheduler.grace_epochs"
_NO_SPACE = SearchSpace.model_construct(name="none", parameters={})


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoadedExperiment:
    """A valid experiment with a valid search space that fits it.

    Attributes:
        experiment: with every default filled in, absolute paths, and all constants of the space in ``search.fixed``.
        space: the search space.
        source: the origin of both, for messages.
    """

    experiment: Experiment
    space: SearchSpace
    source: str

    @property
    def searched(self) -> dict[str, Parameter]:
        """The parameters that trials choose, parents before children: neither fixed nor inactive."""
        return resolve(self.space.parameters, self.constants)[0]

    @property
    def inactive(self) -> dict[str, str]:
        """Parameters of the space that are never active in this experiment, each with the reason."""
        return resolve(self.space.parameters, self.constants)[1]

    @property
    def constants(self) -> dict[str, ParameterValue]:
        """Values that are the same in all trials and that conditions may refer to: fixed ones, and the experiment's."""
        values = self.experiment.to_dict()
        parents = {parent for parameter in self.space.parameters.values() for parent in parameter.when}
        constants = {path: get_path(values, path) for path in leaf_paths(values) if path in parents}
        constants = {path: value for path, value in constants.items() if path not in self.space.parameters}
        return {**constants, **self.experiment.search.fixed}


_Model = TypeVar("_Model", bound=BaseModel)

ExperimentLike = str | PathLike[str] | Mapping[str, Any] | Experiment | LoadedExperiment
"""The name of a shipped experiment, the path of a YAML file, plain data, or an object."""
SpaceLike = SearchSpace | Mapping[str, Any] | str | PathLike[str]
"""A search space as an object, as plain data, as the path of a file, or as the name of a shipped space."""


def load_experiment(
    source: ExperimentLike,
    *,
    overrides: Mapping[str, Any] | None = None,
    fixed: Mapping[str, ParameterValue] | None = None,
    space: SpaceLike | None = None,
    check_space: bool = True,
    saved: bool = False,
    options: tuple[str, str] = ("overrides", "fixed"),
) -> LoadedExperiment:
    """Load an experiment with its search space, and check both.

    Args:
        source: the name of a shipped experiment such as ``quickstart``, the path of a YAML file, plain data, or an
            experiment made in Python.
        overrides: path to value, such as ``{"training.epochs": 3}``, applied over the experiment.
        fixed: searched path to value, added to ``search.fixed``.
        space: the search space, as of ``prepare_experiment``; None is the one that the experiment names or has.
        check_space: load the search space and check it against the experiment.
        saved: file and space were written by distune; accept names of earlier versions in them.
        options: names of ``overrides`` and ``fixed`` in messages.

    Returns:
        The experiment and its search space.

    Raises:
        ConfigError: the experiment or the space is not valid; the message lists all problems.
        UsageError: there is no such file.
    """
    overrides, fixed = overrides or {}, fixed or {}
    if isinstance(source, LoadedExperiment):
        if not overrides and not fixed and space is None:
            return source
        space = source.space if space is None else space
    values, lines, name, folder = _read(source)
    if saved:  # but not the overrides
        values, lines = renamed.upgrade_saved(values), renamed.upgrade_lines(lines)
    for path, value in overrides.items():
        lines = _with_line(lines, path, options[0], values)
        values = with_path(values, path, value)
    if fixed:
        values = merge(values, {"search": {"fixed": dict(fixed)}})  # not by `with_path`: the key is a path itself
        lines |= {f"{FIXED_PREFIX}{path}": FixedOption(options[1]) for path in fixed}
    if not check_space:
        values = _without_early_stopping(values)
    changes = [option for option, given in zip(options, (overrides, fixed), strict=True) if given]
    name += f" with {' and '.join(changes)}" if changes else ""
    space = _saved_space(space, name) if saved and isinstance(space, Mapping) else space
    try:
        parsed = parse_experiment(values, source=name, lines=lines, saved=saved)
    except ConfigError as error:
        if not check_space:
            raise
        # All mistakes at once: also those of the space, which has a file of its own.
        other = _space_error(values, space=space, source=name, folder=folder, lines=lines)
        raise ConfigError(name, error.problems, other=other) from None
    return prepare_experiment(parsed, space=space, source=name, folder=folder, check_space=check_space, lines=lines)


def _without_early_stopping(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return an experiment without a search, whose epochs may be fewer than the grace period of the scheduler."""
    try:
        grace, epochs = get_path(values, _GRACE_EPOCHS), get_path(values, "training.epochs")
    except KeyError:
        return dict(values)
    is_longer = isinstance(grace, int) and isinstance(epochs, int) and grace > epochs >= 1
    return with_path(values, _GRACE_EPOCHS, epochs) if is_longer else dict(values)


def _with_line(lines: dict[str, Line], path: str, option: str, values: Mapping[str, Any]) -> dict[str, Line]:
    """Return the lines of the settings after an option has set a path, whose groups may be new."""
    changed = {each: line for each, line in lines.items() if not each.startswith(f"{path}.")}
    changed[path] = option
    group = path.rpartition(".")[0]
    while group:
        try:
            is_new = not isinstance(get_path(values, group), Mapping)
        except KeyError:
            is_new = True
        if is_new:
            changed.pop(group, None)
        group = group.rpartition(".")[0]
    return changed


def _space_error(
    values: Mapping[str, Any],
    *,
    space: SpaceLike | None,
    source: str,
    folder: Path | None,
    lines: Mapping[str, Line],
) -> ConfigError | None:
    """Return the problems of the search space of an experiment that is not valid itself; None when there are none."""
    try:
        experiment = _without_mistakes(values)
        if experiment is not None:
            prepare_experiment(experiment, space=space, source=source, folder=folder, lines=lines)
            return None
        search = values.get("search")
        named = search.get("space") if isinstance(search, Mapping) else None
        given = space if space is not None else named or SearchSettings().space
        if isinstance(given, str | PathLike):
            _find_space(given, source=source, folder=folder, lines=lines, is_setting=space is None)
    except ConfigError as error:
        return error
    except UsageError as error:
        return ConfigError(source, [str(error)])
    return None


def _without_mistakes(values: Mapping[str, Any]) -> Experiment | None:
    """Return an experiment with the default of each setting that has a mistake; None where that is not possible."""
    values = renamed.upgrade_experiment(values)
    for _ in range(_REPAIRS):
        try:
            return Experiment.model_validate(values)
        except ValidationError as error:
            if error.error_count() > MAX_PROBLEMS_SHOWN:
                return None
            for path in wrong_paths(error, Experiment, values):
                values = without_path(values, path)
    return None


def _read(source: ExperimentLike) -> tuple[dict[str, Any], dict[str, Line], str, Path | None]:
    """Return plain data, its lines, the name of its origin, and the folder that relative paths start from."""
    if isinstance(source, LoadedExperiment):
        return source.experiment.to_dict(), {}, source.source, None
    if isinstance(source, Experiment):
        return source.to_dict(), {}, f"experiment {source.name}", None
    if isinstance(source, Mapping):
        return dict(source), {}, f"experiment {source.get('name', 'without a name')}", None
    path = find_file(str(source), "experiments")
    values, lines = read_yaml(path)
    return values, dict(lines), str(path), path.parent


def experiment_from_dict(
    values: Mapping[str, Any],
    *,
    source: str,
    folder: Path | None = None,
    lines: Mapping[str, Line] | None = None,
    space: SpaceLike | None = None,
    check_space: bool = True,
    saved: bool = False,
) -> LoadedExperiment:
    """Load an experiment from plain data.

    Args:
        values: the experiment, as in a YAML file.
        source: name of the origin, for messages.
        folder: relative paths of search spaces may also start here.
        lines: dotted path to line number in the file.
        space: the search space, as of ``prepare_experiment``.
        check_space: load the search space and check it against the experiment.
        saved: the data was written by distune; accept names of earlier versions.

    Returns:
        The experiment and its search space.

    Raises:
        ConfigError: the experiment or the space is not valid; the message lists all problems.
        UsageError: there is no such search space.
    """
    if saved:
        values, lines = renamed.upgrade_saved(values), renamed.upgrade_lines(lines or {})
    experiment = parse_experiment(values, source=source, lines=lines, saved=saved)
    space = _saved_space(space, source) if saved and isinstance(space, Mapping) else space
    return prepare_experiment(experiment, space=space, source=source, folder=folder, check_space=check_space)


def prepare_experiment(
    experiment: Experiment,
    *,
    space: SpaceLike | None = None,
    source: str | None = None,
    folder: Path | None = None,
    check_space: bool = True,
    lines: Mapping[str, Line] | None = None,
) -> LoadedExperiment:
    """Combine an experiment with its search space, and check that they fit.

    Args:
        experiment: read from a file or made in Python.
        space: the search space as an object, as plain data, as the path of a file, or as the name of a shipped space;
            None is the one that ``search.space`` names.
        source: name of the origin, for messages; None is the experiment's name.
        folder: relative paths of search spaces may also start here.
        check_space: load the search space and check it against the experiment.
        lines: dotted path of a setting to its line in the file, or to the option that gave it.

    Returns:
        The experiment with absolute paths, and its search space.

    Raises:
        ConfigError: the space is not valid, or does not fit the experiment; the message lists all problems.
        UsageError: there is no such search space.
    """
    source = f"experiment {experiment.name}" if source is None else source
    experiment = _with_absolute_paths(experiment)
    if not check_space:
        return LoadedExperiment(experiment=experiment, space=_NO_SPACE, source=source)
    lines = lines or {}
    given = experiment.search.space if space is None else space
    space_lines: dict[str, Line] = {}
    if isinstance(given, SearchSpace):
        parsed = given
    elif isinstance(given, Mapping):
        parsed = parse_space(given, source=f"{source}: space")
    else:
        parsed, space_lines = _find_space(given, source=source, folder=folder, lines=lines, is_setting=space is None)
    loaded = _with_constants(LoadedExperiment(experiment=experiment, space=parsed, source=source))
    problems = compatibility_problems(experiment=loaded.experiment, space=loaded.space, constants=loaded.constants)
    if problems:
        placed = place_lines(problems, {**space_lines, **_options_of(lines)})
        raise ConfigError(f"{source}, search space {parsed.name}", placed)
    return loaded


def _find_space(
    given: str | PathLike[str], *, source: str, folder: Path | None, lines: Mapping[str, Line], is_setting: bool
) -> tuple[SearchSpace, dict[str, Line]]:
    """Read a search space by name or path. Returns it with the place of each of its parameters."""
    try:
        path = find_file(str(given), "search_spaces", folder=folder)
    except UsageError as error:
        if not is_setting:
            raise
        message = str(error).partition(": ")[2]
        raise ConfigError(source, describe_rows([(f"search.space = {given}", message)], lines)) from None
    values, of_file = read_yaml(path)
    space = parse_space(values, source=str(path), lines=of_file)
    prefix = "parameters."
    places: dict[str, Line] = {
        name.removeprefix(prefix): f"{path.name}, line {line}"
        for name, line in of_file.items()
        if name.startswith(prefix)
    }
    return space, places


def _options_of(lines: Mapping[str, Line]) -> dict[str, Line]:
    """Return the paths that options gave. Fixed parameters are under their own paths as well."""
    options = {path: line for path, line in lines.items() if isinstance(line, str)}
    fixed = {path: line for path, line in options.items() if isinstance(line, FixedOption)}
    return {**options, **{path.removeprefix(FIXED_PREFIX): line for path, line in fixed.items()}}


def parse_experiment(
    values: Mapping[str, Any], *, source: str, lines: Mapping[str, Line] | None = None, saved: bool = False
) -> Experiment:
    """Check plain data against the schema of an experiment.

    Args:
        values: the experiment, as in a YAML file.
        source: name of the origin, for messages.
        lines: dotted path to line number in the file.
        saved: accept former names in ``search.fixed`` and ``search.initial_configurations``, which name parameters and
            choices as the search space of the study does.

    Returns:
        The experiment with every default filled in.

    Raises:
        ConfigError: it is not valid, or uses former names; the message lists all problems.
    """
    rows = renamed.experiment_rows(values, chosen=not saved)
    rows += [] if saved else [*clipping_rows(values), *milestone_rows(values)]
    values, lines = renamed.upgrade_experiment(values), renamed.upgrade_lines(lines or {})
    return _validated(Experiment, values, source=source, lines=lines, rows=rows)


def parse_space(values: Mapping[str, Any], *, source: str, lines: Mapping[str, Line] | None = None) -> SearchSpace:
    """Check plain data against the schema of a search space.

    Args:
        values: the space, as in a YAML file.
        source: name of the origin, for messages.
        lines: dotted path to line number in the file.

    Returns:
        The search space.

    Raises:
        ConfigError: it is not valid, or uses former names; the message lists all problems.
    """
    return _validated(SearchSpace, values, source=source, lines=lines or {}, rows=renamed.space_rows(values))


def trial_experiment(
    experiment: Experiment, params: Mapping[str, ParameterValue], *, is_control: bool = False
) -> dict[str, Any]:
    """Return the experiment of one trial: the study's, with the chosen values.

    Args:
        experiment: of the study.
        params: path to chosen value, also under former names.
        is_control: leave out distillation. The chosen values need not go together with it then.

    Returns:
        The experiment as plain data.

    Raises:
        ConfigError: the values do not go together, such as an adapter that does not fit the chosen channels.
    """
    values = with_paths(experiment.to_dict(), renamed.current_values({**experiment.search.fixed, **params}))
    if is_control:
        values = without_distillation(values)
    return parse_experiment(values, source="the trial's settings", saved=True).to_dict()


def _saved_space(values: Mapping[str, Any], source: str) -> SearchSpace:
    """Check a space that a study has saved. It keeps former names, as the trials of the study do."""
    return _validated(SearchSpace, renamed.upgrade_space(values), source=f"{source}: space", lines={}, rows=[])


def _validated(
    model: type[_Model], values: Mapping[str, Any], *, source: str, lines: Mapping[str, Line], rows: list[renamed.Row]
) -> _Model:
    """Check values against a schema. Raise ``ConfigError`` with all problems, those of ``rows`` included."""
    try:
        settings = model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(source, describe(error, model, values, lines, rows)) from None
    if rows:
        raise ConfigError(source, describe_rows(rows, lines))
    return settings


def _with_absolute_paths(experiment: Experiment) -> Experiment:
    """Return the experiment with absolute paths: workers and later sessions may run in other folders."""
    changes: dict[str, Any] = {
        role: detector.model_copy(
            update={"weights": _absolute(detector.weights), "backbone_weights": _absolute(detector.backbone_weights)}
        )
        for role, detector in (("teacher", experiment.teacher), ("student", experiment.student))
    }
    if not isinstance(experiment.data, GeneratedData):
        changes["data"] = experiment.data.model_copy(update={"root": _absolute(experiment.data.root)})
    return experiment.model_copy(update=changes)


def _absolute(name: str | None) -> str | None:
    """Make a path absolute; None and torchvision's names, such as ``ResNet50_Weights.DEFAULT``, stay as they are."""
    if name is None or is_torchvision_name(name):
        return name
    return str(Path(name).expanduser().absolute())


def _with_constants(loaded: LoadedExperiment) -> LoadedExperiment:
    """Move every path with a single value into ``search.fixed``.

    A fixed parameter with a condition becomes one with a single choice, which is used where its condition holds.
    """
    experiment, parameters = loaded.experiment, dict(loaded.space.parameters)
    fixed = {**constant_values(parameters), **experiment.search.fixed}
    for path, value in experiment.search.fixed.items():
        if path in parameters and parameters[path].when:
            parameters[path] = Choice(values=[value], when=parameters[path].when)
            del fixed[path]
    search = experiment.search.model_copy(update={"fixed": fixed})
    return dataclasses.replace(
        loaded,
        experiment=experiment.model_copy(update={"search": search}),
        space=loaded.space.model_copy(update={"parameters": parameters}),
    )
