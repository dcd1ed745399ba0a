"""Reads YAML files with the line number of every key, and writes plain data as YAML. Files cannot run code."""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from distune.config.yaml_limits import MAX_CHARACTERS, LimitError, check_limits
from distune.errors import ConfigError

_MAX_SHOWN = 40
"""Characters of a value in a message."""
_MAX_BYTES = 4 * MAX_CHARACTERS
_MAX_READ_TWICE = 50_000
"""Characters of a file that is read again by the slow parser, for a better message."""
_MAX_DIGITS = 18
"""Digits of a whole number that fits into 64 bits."""
_NOT_TEXT = re.compile("[\ud800-\udfff\0]")
_MERGE = "tag:yaml.org,2002:merge"
_INTEGER = "tag:yaml.org,2002:int"
_FLOAT = "tag:yaml.org,2002:float"
_OTHER_BASE = re.compile(r"[-+]?(0[0-9_]+|[0-9][0-9_]*(:[0-5]?[0-9])+)")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which also reads ``1e-3`` as a number, as YAML 1.2 does.

    A value that it cannot build, such as the date 2001-13-01, is an error with its line.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        return _construct(node, lambda: super(_Loader, self).construct_object(node, deep))


class _FastLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The same on libyaml, which is ten times faster, where PyYAML was built with it."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        return _construct(node, lambda: super(_FastLoader, self).construct_object(node, deep))


def _construct(node: yaml.Node, construct: Callable[[], Any]) -> Any:
    try:
        return construct()
    except (ValueError, KeyError, IndexError, AttributeError, TypeError, ArithmeticError) as error:
        kind = node.tag.rpartition(":")[2]
        shown = f"{node.value[:_MAX_SHOWN]!r} " if isinstance(node, yaml.ScalarNode) else ""
        why = f" ({error})" if kind == "timestamp" else ""
        problem = f"{shown}cannot be read as {kind}{why}; if it is text, put it in quotes"
        raise LimitError(problem=problem, problem_mark=node.start_mark) from None


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
        ConfigError: no such file, not UTF-8, not YAML, not a mapping, a key given twice, or a number like ``012``.
    """
    try:
        with path.open("rb") as file:  # may be a pipe of the shell, or a file without an end
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(str(path), ["there is no such file"]) from None
    except OSError as error:
        raise ConfigError(str(path), [f"cannot be read: {error}"]) from None
    if len(content) > _MAX_BYTES:
        raise ConfigError(str(path), [f"has more than {MAX_CHARACTERS} characters"])
    return parse_yaml(_decode(content, source=str(path)), source=str(path))


def parse_plain(text: str) -> Any:
    """Return the values of YAML text of another program, of any form.

    Args:
        text: of the file.

    Returns:
        Plain data.

    Raises:
        ValueError: it is not YAML, or beyond the limits of ``yaml_limits``; the message says where.
    """
    try:
        return _read(text)
    except yaml.YAMLError as error:
        raise ValueError(_describe(error, text)) from None


def parse_yaml(text: str, *, source: str) -> tuple[dict[str, Any], dict[str, int]]:
    """Parse YAML text as ``read_yaml`` does. ``source`` names the text in messages."""
    lines: dict[str, int] = {}
    problems: list[str] = []
    try:
        values = _read(text, lambda node: _collect_lines(node, "", lines, problems))
    except yaml.YAMLError as error:
        raise ConfigError(source, [_describe(error, text)]) from None
    if not isinstance(values, dict):
        raise ConfigError(source, ["must be a mapping of settings"])
    if problems:
        raise ConfigError(source, problems)
    return values, lines


def parse_value(text: str) -> Any:
    """Parse a value from the command line as YAML: ``3`` is a number, ``[a, b]`` a list, the rest text.

    Raises ``ValueError`` for a number that YAML reads in another base.
    """
    problems: list[str] = []
    try:
        value = _read(text, lambda node: _collect_lines(node, "", {}, problems))
    except yaml.YAMLError:
        return text
    if problems:
        raise ValueError(problems[0].partition("  ")[2])
    return value


def write_yaml(values: dict[str, Any]) -> str:
    """Return plain data as YAML, in the order given."""
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)


def _read(text: str, inspect: Callable[[yaml.Node | None], None] = lambda node: None) -> Any:
    """Return the values of YAML text. ``inspect`` sees the tree of nodes, which has the line numbers, before it."""
    try:
        check_limits(text, _FastLoader)
        return _load(text, _FastLoader, inspect)
    except LimitError:
        raise
    except yaml.YAMLError:
        if len(text) > _MAX_READ_TWICE:
            raise
        check_limits(text, _Loader)
        return _load(text, _Loader, inspect)  # its messages show the line; libyaml's do not


def _load(text: str, kind: type[yaml.SafeLoader], inspect: Callable[[yaml.Node | None], None]) -> Any:
    loader = kind(text)
    try:
        node = loader.get_single_node()
        inspect(node)  # construction replaces merge keys (<<) in the tree
        return None if node is None else loader.construct_document(node)
    finally:
        loader.dispose()


def _decode(content: bytes, *, source: str) -> str:
    """Return the text of a file. Raises ``ConfigError`` for other encodings than UTF-8."""
    remedy = "save the file as UTF-8"
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in content[:200]:
        raise ConfigError(source, [f"is not UTF-8 text, but UTF-16 or no text at all: {remedy}"])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        shown = content[error.start : error.start + 1].decode("latin-1")
        raise ConfigError(source, [f"line {line}  is not UTF-8, but perhaps Latin-1 ({shown}): {remedy}"]) from None


def _describe(error: yaml.YAMLError, text: str) -> str:
    """Return what is wrong with the YAML of a text, with its line."""
    if isinstance(error, LimitError):
        place = "" if error.problem_mark is None else f"line {error.problem_mark.line + 1}  "
        return f"{place}{error.problem}"
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return f"is not YAML: {' '.join(str(error).split())}"
    written = text.splitlines()
    if mark.line < len(written) and "\t" in written[mark.line]:
        return f"line {mark.line + 1}  has a tab; indent with spaces, since YAML allows no tabs"
    parts = [getattr(error, name, None) for name in ("problem", "context")]
    return f"line {mark.line + 1}  is not YAML: {', '.join(part for part in parts if part)}"


def _collect_lines(node: yaml.Node | None, prefix: str, lines: dict[str, int], problems: list[str]) -> None:
    """Collect the line of each path; of a key that overrides one of a merge (<<), the line of its own.

    Adds a problem for each key that is given twice, and for each number that YAML reads in another base than 10.
    """
    if isinstance(node, yaml.ScalarNode):
        problems += [*_base_problems(prefix.removesuffix("."), node), *_scalar_problems(prefix.removesuffix("."), node)]
    if isinstance(node, yaml.SequenceNode):
        for each in node.value:
            _collect_lines(each, prefix, {}, problems)
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
            problems.append(f"{path} (line {line})  is given twice; the first time in line {lines[path]}")
        lines[path] = line
        _collect_lines(value, f"{path}.", lines, problems)
    for each in merged:
        of_merge: dict[str, int] = {}
        _collect_lines(each, prefix, of_merge, problems)
        for path, line in of_merge.items():
            lines.setdefault(path, line)


def _base_problems(path: str, node: yaml.ScalarNode) -> list[str]:
    """Refuse ``012``, which YAML reads as 10, and ``1:30``, which it reads as 90."""
    if node.tag != _INTEGER or node.style or not _OTHER_BASE.fullmatch(node.value):
        return []
    text = node.value
    if ":" in text:
        remedy = f'put it in quotes: "{text}"'
    else:
        remedy = f'is it the number {text.replace("_", "").lstrip("+-0") or "0"} or the text "{text}"? Write it so'
    return [f"{path} = {text} (line {node.start_mark.line + 1})  is read in another base by YAML: {remedy}"]


def _scalar_problems(path: str, node: yaml.ScalarNode) -> list[str]:
    """Refuse numbers that do not fit into 64 bits, and characters that cannot be written to a file or a terminal."""
    text, where = node.value, f"(line {node.start_mark.line + 1})"
    digits = sum(each.isalnum() for each in text)
    is_too_large = node.tag == _INTEGER and digits > _MAX_DIGITS
    if node.tag == _FLOAT and not node.style and any(each.isdigit() for each in text):
        is_too_large = _is_infinite(text)
    if is_too_large:
        return [f"{path} = {text[:_MAX_SHOWN]}{'...' * (len(text) > _MAX_SHOWN)} {where}  is too large a number"]
    if _NOT_TEXT.search(text) is not None:
        return [f"{path} {where}  has a character that is not text: {text[:_MAX_SHOWN]!a}"]
    return []


def _is_infinite(text: str) -> bool:
    try:
        return math.isinf(float(text.replace("_", "")))
    except ValueError:  # 1:30.5
        return False
