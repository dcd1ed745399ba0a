"""What has changed between the settings a study ran under and those it is to go on with. Pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from distune.config.load import LoadedExperiment
from distune.config.paths import get_path, leaf_paths
from distune.config.space import Choice, Parameter
from distune.records import ParameterValue

_FREE = ("description", "expects", "resources")
_FREE_SEARCH = ("space", "num_trials", "controls", "defaults_first", "initial_configurations", "scheduler", "sampler")
_TAKES_OTHER_RANGES = ("tpe", "random")
_SAMPLER = "search.sampler"
_MISSING = "-"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """One setting that is not what it was.

    Attributes:
        path: of the setting, or ``space: PATH`` for a parameter of the search space.
        old: what it was, in words.
        new: what it is to be.
        refusal: why the study cannot go on with it, None when it can.
        remark: what follows from it, empty where that is plain.
    """

    path: str
    old: str
    new: str
    refusal: str | None = None
    remark: str = ""


def compare(
    before: LoadedExperiment,
    after: LoadedExperiment,
    tried: Sequence[Mapping[str, ParameterValue]],
    *,
    moved: Collection[str] = (),
) -> list[Change]:
    """All changes, settings first, then the search space.

    Args:
        before: what the study ran under.
        after: what it is to go on with.
        tried: the parameters of its trials so far.
        moved: paths of which some of these trials were chosen from other ranges than ``after`` has.
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


def describe_changes(changes: Sequence[Change]) -> list[str]:
    """A table of changes: path, old, new, and what is to be said about each. Empty when nothing has changed."""
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
    """A parameter in a few words."""
    if parameter is None:
        return _MISSING
    if isinstance(parameter, Choice):
        words = f"one of {', '.join(map(str, parameter.values))}"
    else:
        words = f"{parameter.low:g} to {parameter.high:g}" + (", log" if parameter.log else "")
        words += f", step {parameter.step:g}" if parameter.step not in (None, 1) else ""
    return words + (f", when {parameter.when}" if parameter.when else "")


def _settings(loaded: LoadedExperiment) -> dict[str, Any]:
    values = loaded.experiment.to_dict()
    del values["tracking"]  # it may change at any time, and its address may hold a secret
    # Lists are leaves, and so are the configurations and paths within `search`: their keys hold dots.
    search = {f"search.{name}": value for name, value in values.pop("search").items()}
    del search["search.storage"]  # looked at before everything else, and it may hold a secret
    return {**{path: get_path(values, path) for path in leaf_paths(values)}, **search}


def _setting(path: str, old: Any, new: Any, refusal: str | None) -> Change:
    section, _, name = path.partition(".")
    is_free = section in _FREE or (section == "search" and name in _FREE_SEARCH)
    remark = ""
    if path == "search.num_trials":
        remark = "only counts at the launch: now say distune resume NAME --trials N"
    return Change(
        path=path,
        old=str(old),
        new=str(new),
        refusal=refusal if is_free else "trials before and after it could not be compared",
        remark=remark,
    )


def _parameter(
    path: str,
    old: Parameter | None,
    new: Parameter | None,
    after: LoadedExperiment,
    tried: Sequence[Mapping[str, ParameterValue]],
) -> Change:
    with_value = [params[path] for params in tried if path in params]
    inside = sum(new is not None and new.contains(value) for value in with_value)
    refusal = _refusal(old, new, after)
    lost = f"{inside} of {len(with_value)} trials lie within; "
    return Change(
        path=f"space: {path}",
        old=describe_parameter(old),
        new=describe_parameter(new),
        refusal=refusal,
        remark="" if refusal else f"{lost}from now on it is sampled apart from the other parameters",
    )


def _refusal(old: Parameter | None, new: Parameter | None, after: LoadedExperiment) -> str | None:
    if old is None or new is None:
        return "the trials so far have no such parameter" if old is None else "the trials so far have searched it"
    if old.kind != new.kind:
        return "Optuna takes no other kind of parameter in a study"
    if old.when != new.when:
        return "the trials so far were chosen under another condition"
    if isinstance(old, Choice) or isinstance(new, Choice):
        return "Optuna takes no other values of a choice in a study"
    if old.log != new.log:
        return "Optuna takes no other scale in a study"
    return _range_refusal(after)


def _range_refusal(after: LoadedExperiment) -> str | None:
    """What a sampler has against a range that is not that of all trials."""
    kind = after.experiment.search.sampler.kind
    if kind not in _TAKES_OTHER_RANGES:
        return f"{kind} would draw it at random from now on"
    if kind == "tpe" and any(parameter.when for parameter in after.searched.values()):
        return "tpe would keep to the former range in a space with conditions"
    return None


def _sampler_refusal(after: LoadedExperiment, moved: Collection[str]) -> str | None:
    refusal = _range_refusal(after) if moved else None
    return None if refusal is None else f"the range of {', '.join(moved)} has changed: {refusal}"


def _space_refusal(before: LoadedExperiment, after: LoadedExperiment) -> str | None:
    """The name alone would change nothing: a study has its space in its own folder."""
    return "the study keeps to its own space.yaml: edit that" if before.space == after.space else None
