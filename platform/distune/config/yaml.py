"""Reads YAML files with the line number of every key, and writes plain data as YAML. Files cannot run code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from distune.errors import ConfigError


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
    try:
        node, values = _compose_and_construct(text)
    except yaml.YAMLError as error:
        raise ConfigError(source, [f"is not YAML: {' '.join(str(error).split())}"]) from None
    if not isinstance(values, dict):
        raise ConfigError(source, ["must be a mapping of settings"])
    lines: dict[str, int] = {}
    twice: list[str] = []
    _collect_lines(node, "", lines, twice)
    if twice:
        raise ConfigError(source, twice)
    return values, lines


def parse_value(text: str) -> Any:
    """Parse a value from the command line as YAML: ``3`` is a number, ``[a, b]`` a list, the rest text."""
    try:
        return _compose_and_construct(text)[1]
    except yaml.YAMLError:
        return text


def write_yaml(values: dict[str, Any]) -> str:
    """Return plain data as YAML, in the order given."""
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)


def _compose_and_construct(text: str) -> tuple[yaml.Node | None, Any]:
    """Return the tree of nodes, which has the line numbers, and the values constructed from it."""
    try:
        return _load(text, _FastLoader)
    except yaml.YAMLError:
        return _load(text, _Loader)  # its messages show the line; libyaml's do not


def _load(text: str, kind: type[yaml.SafeLoader]) -> tuple[yaml.Node | None, Any]:
    loader = kind(text)
    try:
        node = loader.get_single_node()
        return node, None if node is None else loader.construct_document(node)
    finally:
        loader.dispose()


def _collect_lines(node: yaml.Node | None, prefix: str, lines: dict[str, int], twice: list[str]) -> None:
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        path = f"{prefix}{key.value}"
        line = key.start_mark.line + 1
        if path in lines:
            twice.append(f"{path} (line {line})  is given twice; the first time in line {lines[path]}")
        lines[path] = line
        _collect_lines(value, f"{path}.", lines, twice)
