"""Settings and values that earlier versions called by other names.

An old name in a user's file is an error that gives the new name. Files that distune itself wrote, such as those of a
study's folder, are read under the new names. Only the search space of a study keeps the old ones: Optuna stores the
names and the choices of a parameter with every trial, and takes no others for the rest of the study. Such values are
translated where they are put into an experiment.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from distune.config.format_value import format_value
from distune.config.paths import get_path, with_path, without_path
from distune.config.problems import Line
from distune.records import ParameterValue

Row = tuple[str, str]
"""The location of a problem in a file, and its message."""

SETTINGS = {
    "distillation.localization.kind": "distillation.localization.form",
    "distillation.soft_labels.normaliser": "distillation.soft_labels.reduction",
    "distillation.standardise": "distillation.standardize",
    "search.first": "search.initial_configurations",
}
"""Former path of a setting to its present one."""

VALUES: dict[str, dict[str, str]] = {
    "distillation.preset": {"gkd_released": "gkd_raw"},
    "distillation.prototypes.source.kind": {"harvest": "queue", "sweep": "feature_pass"},
}
"""Path of a setting to its former values, each with its present one."""

FORMER_BEHAVIOR: dict[str, tuple[str, Any]] = {
    "distillation.soft_labels.sites": ("distillation.soft_labels.weight", "positive"),
    "training.gradient_clip_of": ("training.gradient_clip_norm", "total"),
}
"""Path of a setting that earlier versions did not have to a setting that they had, and the value that does as they did,
where the default does not. Files that distune wrote hold all settings, so one that has the other setting alone, not
null, is of an earlier version."""


def current_path(path: str) -> str:
    """Return the present name of a setting."""
    return SETTINGS.get(path, path)


def current_value(path: str, value: Any) -> Any:
    """Return the present name of a setting's value."""
    return VALUES.get(current_path(path), {}).get(value, value) if isinstance(value, str) else value


def current_values(chosen: Mapping[str, ParameterValue]) -> dict[str, ParameterValue]:
    """Return chosen values, by path, under the present names of both."""
    return {current_path(path): current_value(path, value) for path, value in chosen.items()}


def offered_value(path: str, value: Any, offered: Collection[Any]) -> Any:
    """Return a setting's value as the choices of a parameter name it, which may be by its former name."""
    names = (former for former in offered if former != value and current_value(path, former) == value)
    return value if value in offered else next(names, value)


def upgrade_experiment(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return an experiment's plain values under their present names.

    Values of the search space in ``search.fixed`` and ``search.initial_configurations`` stay as the space names them.
    """
    upgraded = dict(values)
    for former, path in SETTINGS.items():
        found, value = _find(upgraded, former)
        if found:
            upgraded = without_path(upgraded, former)
            if not _find(upgraded, path)[0]:
                upgraded = with_path(upgraded, path, value)
    for path in VALUES:
        found, value = _find(upgraded, path)
        if found and current_value(path, value) != value:
            parent, _, name = path.rpartition(".")
            group = {**get_path(upgraded, parent), name: current_value(path, value)}
            upgraded = with_path(without_path(upgraded, parent), parent, group)
    return upgraded


def upgrade_saved(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plain values of an experiment that distune wrote: under present names, with its former behavior."""
    upgraded = upgrade_experiment(values)
    for path, (companion, former) in FORMER_BEHAVIOR.items():
        if _find(upgraded, companion)[1] is not None and not _find(upgraded, path)[0]:
            upgraded = with_path(upgraded, path, former)
    return upgraded


def upgrade_space(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plain values of a study's own search space, with conditions on settings outside of it up to date.

    Its parameters, and conditions on these, stay as Optuna knows them.
    """
    parameters = values.get("parameters")
    if not isinstance(parameters, Mapping):
        return dict(values)
    upgraded = {}
    for path, parameter in parameters.items():
        upgraded[path] = parameter
        if isinstance(parameter, Mapping) and isinstance(parameter.get("when"), Mapping):
            when = {
                parent if parent in parameters else current_path(parent): wanted
                if parent in parameters
                else _each(parent, wanted)
                for parent, wanted in parameter["when"].items()
            }
            upgraded[path] = {**parameter, "when": when}
    return {**values, "parameters": upgraded}


def upgrade_lines(lines: Mapping[str, Line]) -> dict[str, Line]:
    """Return the line of each path in a file, with the line of a former name for the present one."""
    return {**lines, **{path: lines[former] for former, path in SETTINGS.items() if former in lines}}


def experiment_rows(values: Mapping[str, Any], *, chosen: bool = True) -> list[Row]:
    """Return a row for each former name in an experiment's plain values.

    Without ``chosen``, ``search.fixed`` and ``search.initial_configurations`` may name values as an old space does.
    """
    rows = [_renamed(former, path) for former, path in SETTINGS.items() if _find(values, former)[0]]
    for path in VALUES:
        found, value = _find(values, path)
        rows += list(_value_rows(path, path, value)) if found else []
    search = values.get("search")
    if not chosen or not isinstance(search, Mapping):
        return rows
    rows += _chosen_rows("search.fixed", search.get("fixed"))
    for name in ("first", "initial_configurations"):
        given = search.get(name)
        for index, configuration in enumerate(given if isinstance(given, list) else []):
            rows += _chosen_rows(f"search.{name}.{index}", configuration)
    return rows


def space_rows(values: Mapping[str, Any]) -> list[Row]:
    """Return a row for each former name in a search space's plain values."""
    parameters = values.get("parameters")
    rows: list[Row] = []
    for path, parameter in parameters.items() if isinstance(parameters, Mapping) else []:
        left = f"parameters.{path}"
        rows += [_renamed(left, SETTINGS[path])] if path in SETTINGS else []
        if isinstance(parameter, Mapping):
            rows += list(_value_rows(f"{left}.values", path, parameter.get("values")))
            rows += _chosen_rows(f"{left}.when", parameter.get("when"))
        else:
            rows += list(_value_rows(left, path, parameter))
    return rows


def _chosen_rows(left: str, chosen: Any) -> list[Row]:
    """Return the rows of a mapping from paths to values, or to lists of values."""
    rows: list[Row] = []
    for path, value in chosen.items() if isinstance(chosen, Mapping) else []:
        rows += [_renamed(f"{left}.{path}", SETTINGS[path])] if path in SETTINGS else []
        rows += list(_value_rows(f"{left}.{path}", path, value))
    return rows


def _value_rows(left: str, path: str, value: Any) -> Iterator[Row]:
    for each in value if isinstance(value, list) else [value]:
        current = current_value(path, each)
        if current != each:
            yield _renamed(f"{left} = {format_value(each)}", current)


def _renamed(left: str, current: str) -> Row:
    return left, f"was renamed: use {current}"


def _each(path: str, wanted: Any) -> Any:
    return [current_value(path, each) for each in wanted] if isinstance(wanted, list) else current_value(path, wanted)


def _find(values: Mapping[str, Any], path: str) -> tuple[bool, Any]:
    try:
        return True, get_path(values, path)
    except KeyError:
        return False, None
