"""Reads YAML files with the line number of every key, and writes plain data as YAML. Files cannot run code."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from distune.errors import ConfigError

_MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which also reads ``1e-3`` as a number, as YAML 1.2 does."""


class _FastLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The same on libyaml, which is ten times faster, where PyYAML was built with it."""


for _each in (_Loader, _FastLoader):
    _each.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+\Z"),
        list("-+.0123456789"),
    )


def read_yaml(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Read the mapping in a YAML file.

    Args:
        path: the file.

    Returns:
        The mapping, and the line number of each dotted path.

    Raises:
        ConfigError: no such file, not YAML, not a mapping, or a key given twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(str(path), ["there is no such file"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [f"cannot be read: {error}"]) from None
    return parse_yaml(text, source=str(path))


def parse_yaml(text: str, *, source: str) -> tuple[dict[str, Any], dict[str, int]]:
    """Parse YAML text as ``read_yaml`` does. ``source`` names the text in messages."""
    lines: dict[str, int] = {}
    twice: list[str] = []
    try:
        values = _read(text, lambda node: _collect_lines(node, "", lines, twice))
    except yaml.YAMLError as error:
        raise ConfigError(source, [f"is not YAML: {' '.join(str(error).split())}"]) from None
    if not isinstance(values, dict):
        raise ConfigError(source, ["must be a mapping of settings"])
    if twice:
        raise ConfigError(source, twice)
    return values, lines


def parse_value(text: str) -> Any:
    """Parse a value from the command line as YAML: ``3`` is a number, ``[a, b]`` a list, the rest text."""
    try:
        return _read(text)
    except yaml.YAMLError:
        return text


def write_yaml(values: dict[str, Any]) -> str:
    """Return plain data as YAML, in the order given."""
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)


def _read(text: str, inspect: Callable[[yaml.Node | None], None] = lambda node: None) -> Any:
    """Return the values of YAML text. ``inspect`` sees the tree of nodes, which has the line numbers, before it."""
    try:
        return _load(text, _FastLoader, inspect)
    except yaml.YAMLError:
        return _load(text, _Loader, inspect)  # its messages show the line; libyaml's do not


def _load(text: str, kind: type[yaml.SafeLoader], inspect: Callable[[yaml.Node | None], None]) -> Any:
    loader = kind(text)
    try:
        node = loader.get_single_node()
        inspect(node)  # construction replaces merge keys (<<) in the tree
        return None if node is None else loader.construct_document(node)
    finally:
        loader.dispose()


def _collect_lines(node: yaml.Node | None, prefix: str, lines: dict[str, int], twice: list[str]) -> None:
    """Collect the line of each path; of a key that overrides one of a merge (<<), the line of its own."""
    if not isinstance(node, yaml.MappingNode):
        return
    merged: list[yaml.Node] = []
    for key, value in node.value:
        if key.tag == _MERGE:
            merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
            continue
        path = f"{prefix}{key.value}"
        line = key.start_mark.line + 1
        if path in lines:
            twice.append(f"{path} (line {line})  is given twice; the first time in line {lines[path]}")
        lines[path] = line
        _collect_lines(value, f"{path}.", lines, twice)
    for each in merged:
        of_merge: dict[str, int] = {}
        _collect_lines(each, prefix, of_merge, twice)
        for path, line in of_merge.items():
            lines.setdefault(path, line)
