"""Differences between the former and the new settings of a study. Pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from distune.config.conditions import describe_condition
from distune.config.format_value import format_value
from distune.config.load import LoadedExperiment
from distune.config.paths import get_path, leaf_paths
from distune.config.space import Choice, Parameter
from distune.records import ParameterValue

_FREE = ("description", "expects", "resources")
_FREE_SEARCH = (
    *("space", "num_trials", "controls", "defaults_first", "initial_configurations", "scheduler", "sampler"),
    "confirm",
)
_TAKES_OTHER_RANGES = ("tpe", "random")
_SAMPLER = "search.sampler"
_MISSING = "-"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SettingChange:
    """One setting that has changed.

    Attributes:
        path: of the setting, or ``space: PATH`` for a parameter of the search space.
        old: the former value, for the user.
        new: the new value, for the user.
        refusal: why the study cannot continue with it, None when it can.
        remark: consequence of the change, empty when obvious.
    """

    path: str
    old: str
    new: str
    refusal: str | None = None
    remark: str = ""


def compare_settings(
    before: LoadedExperiment,
    after: LoadedExperiment,
    tried: Sequence[Mapping[str, ParameterValue]],
    *,
    moved: Collection[str] = (),
) -> list[SettingChange]:
    """Return all changes: settings first, then the search space.

    Args:
        before: former settings of the study.
        after: new settings.
        tried: the parameters of its trials so far.
        moved: paths whose values some of these trials drew from other ranges than those of ``after``.

    Returns:
        A change for each setting that differs, with the reason if it is refused.
    """
    old, new = (_settings(loaded) for loaded in (before, after))
    refusals = {_SAMPLER: _sampler_refusal(after, moved), "search.space": _space_refusal(before, after)}
    changes = [
        _setting(path, old.get(path, _MISSING), new.get(path, _MISSING), refusals.get(path))
        for path in dict.fromkeys((*old, *new))
        if old.get(path, _MISSING) != new.get(path, _MISSING)
    ]
    parameters, others = before.space.parameters, after.space.parameters
    return changes + [
        _parameter(path, parameters.get(path), others.get(path), after, tried)
        for path in dict.fromkeys((*parameters, *others))
        if parameters.get(path) != others.get(path)
    ]


def describe_changes(changes: Sequence[SettingChange]) -> list[str]:
    """Return the lines of a table of changes: path, old, new, and refusal or remark. Empty without changes."""
    if not changes:
        return []
    rows = [(each.path, each.old, each.new, each.refusal or each.remark) for each in changes]
    heads = ("setting", "was", "is now", "")
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(3)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]).rstrip()
        for row in (heads, *rows)
    ]


def describe_parameter(parameter: Parameter | None) -> str:
    """Return a short description of a parameter."""
    if parameter is None:
        return _MISSING
    if isinstance(parameter, Choice):
        text = f"one of {', '.join(map(format_value, parameter.values))}"
    else:
        text = f"{parameter.low:g} to {parameter.high:g}" + (", log" if parameter.log else "")
        text += f", step {parameter.step:g}" if parameter.step not in (None, 1) else ""
    return text + (f", when {describe_condition(parameter)}" if parameter.when else "")


def _settings(loaded: LoadedExperiment) -> dict[str, Any]:
    values = loaded.experiment.to_dict()
    del values["tracking"]  # may change at any time, and its address may hold a secret
    # Lists are leaves, and so are configurations and paths within `search`, whose keys contain dots.
    search = {f"search.{name}": value for name, value in values.pop("search").items()}
    del search["search.storage"]  # compared before everything else, and may hold a secret
    return {**{path: get_path(values, path) for path in leaf_paths(values)}, **search}


def _setting(path: str, old: Any, new: Any, refusal: str | None) -> SettingChange:
    section, _, name = path.partition(".")
    is_free = section in _FREE or (section == "search" and name in _FREE_SEARCH)
    remark = ""
    if path == "search.num_trials":
        remark = "only has an effect at launch; use distune resume NAME --trials N"
    return SettingChange(
        path=path,
        old=format_value(old),
        new=format_value(new),
        refusal=refusal if is_free else "trials before and after the change would not be comparable",
        remark=remark,
    )


def _parameter(
    path: str,
    old: Parameter | None,
    new: Parameter | None,
    after: LoadedExperiment,
    tried: Sequence[Mapping[str, ParameterValue]],
) -> SettingChange:
    with_value = [params[path] for params in tried if path in params]
    inside = sum(new is not None and new.contains(value) for value in with_value)
    refusal = _refusal(old, new, after)
    kept = f"{inside} of {len(with_value)} trials are inside; "
    return SettingChange(
        path=f"space: {path}",
        old=describe_parameter(old),
        new=describe_parameter(new),
        refusal=refusal,
        remark="" if refusal else f"{kept}from now on it is sampled independently of the other parameters",
    )


def _refusal(old: Parameter | None, new: Parameter | None, after: LoadedExperiment) -> str | None:
    if old is None or new is None:
        return "earlier trials have no such parameter" if old is None else "earlier trials have searched it"
    if old.kind != new.kind:
        return "Optuna does not allow another kind of parameter within a study"
    if old.when != new.when:
        return "earlier trials were chosen under another condition"
    if isinstance(old, Choice) or isinstance(new, Choice):
        return "Optuna does not allow other values of a choice within a study"
    if old.log != new.log:
        return "Optuna does not allow another scale within a study"
    return _range_refusal(after)


def _range_refusal(after: LoadedExperiment) -> str | None:
    """Return why a sampler cannot continue with a range that some trials were not drawn from."""
    kind = after.experiment.search.sampler.kind
    if kind not in _TAKES_OTHER_RANGES:
        return f"{kind} would sample it at random from now on"
    if kind == "tpe" and any(parameter.when for parameter in after.searched.values()):
        return "tpe would keep the former range in a space with conditions"
    return None


def _sampler_refusal(after: LoadedExperiment, moved: Collection[str]) -> str | None:
    refusal = _range_refusal(after) if moved else None
    return None if refusal is None else f"the range of {', '.join(moved)} has changed: {refusal}"


def _space_refusal(before: LoadedExperiment, after: LoadedExperiment) -> str | None:
    """Refuse another name of the same space: the space of a study is in its own folder."""
    return "the study uses its own space.yaml; edit that file" if before.space == after.space else None
