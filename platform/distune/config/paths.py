"""Dotted paths into nested plain settings, such as ``distillation.prototypes.alpha``."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of ``base`` with the values of ``over``, mapping by mapping.

    A mapping with another ``kind`` replaces the former one entirely, since their other keys have nothing in common.
    """
    merged = dict(base)
    for name, value in over.items():
        below = merged.get(name)
        if isinstance(below, dict) and isinstance(value, Mapping) and _same_kind(below, value):
            merged[name] = merge(below, value)
        else:
            merged[name] = _copy(value)
    return {name: value if name in over else _copy(value) for name, value in merged.items()}


def get_path(values: Mapping[str, Any], path: str) -> Any:
    """Return the value at ``path``. Raises ``KeyError`` with the path where there is none."""
    here: Any = values
    for name in path.split("."):
        if not isinstance(here, Mapping) or name not in here:
            raise KeyError(path)
        here = here[name]
    return here


def with_path(values: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a copy of ``values`` with ``value`` at ``path``; missing mappings on the way are created."""
    for name in reversed(path.split(".")):
        value = {name: value}
    return merge(values, value)


def without_path(values: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Return a copy of ``values`` without what is at ``path``."""
    name, _, rest = path.partition(".")
    if not rest:
        return {key: value for key, value in values.items() if key != name}
    below = values.get(name)
    return {**values, name: without_path(below, rest)} if isinstance(below, Mapping) else dict(values)


def with_paths(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of ``values`` with all changes, those of a ``kind`` first, since these replace whole groups."""
    changed = dict(values)
    for path in sorted(changes, key=lambda each: not each.endswith(".kind")):
        changed = with_path(changed, path, changes[path])
    return changed


def leaf_paths(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield all paths that end in something other than a mapping, in order."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from leaf_paths(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _copy(value: Any) -> Any:
    """Return a copy of plain data. ``copy.deepcopy`` takes several times as long, for cycles that do not occur here."""
    if isinstance(value, (str, int, float)):
        return value
    if type(value) is dict:
        return {name: _copy(each) for name, each in value.items()}
    if type(value) is list:
        return [_copy(each) for each in value]
    return copy.deepcopy(value)


def _same_kind(below: Mapping[str, Any], over: Mapping[str, Any]) -> bool:
    return "kind" not in over or "kind" not in below or below["kind"] == over["kind"]
