"""Turns validation errors into lines for the user: path, value, line in the file, and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from distune.config.aliases import setting_for
from distune.config.format_value import format_value
from distune.errors import MAX_PROBLEMS_SHOWN

Line = int | str
"""The line of a setting in its file, or the name of the option that gave it, such as ``--set``."""
FIXED_PREFIX = "search.fixed."


class FixedOption(str):
    """The name of the option for fixed parameters. Settings that it gave are shown without ``FIXED_PREFIX``."""

    __slots__ = ()


_MAX_EXPLAINED = 5 * MAX_PROBLEMS_SHOWN
_MAX_NAMES = 40
"""Known names that a hint lists."""
_TAGS = ("kind", "family")
"""Settings that choose the model of a section."""
_MESSAGES = {
    "missing": "is missing",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be a mapping of names to values",
    "model_type": "must be a mapping of settings",
    "model_attributes_type": "must be a mapping of settings",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "literal_error": "must be one of {expected}",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
}


def describe(
    error: ValidationError,
    model: type[BaseModel],
    values: Any,
    lines: Mapping[str, Line],
    further: Sequence[tuple[str, str]] = (),
) -> list[str]:
    """Describe what pydantic found.

    Args:
        error: raised by pydantic.
        model: the model that was validated, to suggest its settings when a key is unknown.
        values: the values that were validated.
        lines: path to line number in the file, empty when there is no file.
        further: problems found otherwise, each as its path, with or without ``= value``, and a message.

    Returns:
        A line for each problem.
    """
    rows: list[tuple[str, str]] = []
    of_unions: dict[str, int] = {}
    details = error.errors(include_url=False)
    for detail in details[:_MAX_EXPLAINED]:
        for left, message in _rows(detail, model, values):
            position = of_unions.get(left)
            if position is not None:  # another kind of value that would be allowed
                rows[position] = (left, f"{rows[position][1]}, or {message.removeprefix('must be ')}")
                continue
            if len(_plain_path(detail, values)) < len(detail["loc"]) and not isinstance(detail["input"], Mapping):
                of_unions[left] = len(rows)
            rows.append((left, message))
    # Places and suggestions of thousands of problems would take minutes; a message shows the first ones.
    others = [f"{'.'.join(_plain_path(detail, values))}  {detail['msg']}" for detail in details[_MAX_EXPLAINED:]]
    return describe_rows([*further, *rows], lines) + others


def describe_rows(rows: Sequence[tuple[str, str]], lines: Mapping[str, Line]) -> list[str]:
    """Return a line for each problem, given as its path, with or without ``= value``, and a message."""
    placed = list(dict.fromkeys((place(left, lines), message) for left, message in rows))
    width = min(max((len(left) for left, _ in placed), default=0), 60)
    return [f"{left:<{width}}  {message}" for left, message in placed]


def place(left: str, lines: Mapping[str, Line]) -> str:
    """Return a path, with or without ``= value``, with its line, or with the option that gave it.

    Args:
        left: the path of a setting.
        lines: path to line.

    Returns:
        Such as ``training.epochs = 0 (line 7)``. What an option gave has the path that the user gave.
    """
    path, equals, value = left.partition(" = ")
    below = next((each for each in lines if each.startswith(f"{path}.") and isinstance(lines[each], str)), None)
    if path not in lines and below is not None:
        return f"{below} ({lines[below]})"
    known = path
    while known and known not in lines:
        known = known.rpartition(".")[0]
    if not known:
        return left
    line = lines[known]
    if isinstance(line, int):
        return f"{left} (line {line})"
    shown = path.removeprefix(FIXED_PREFIX) if isinstance(line, FixedOption) else path
    return f"{shown}{equals}{value} ({line})"


def place_lines(problems: Sequence[str], lines: Mapping[str, Line]) -> list[str]:
    """Return problems, each a path and a message with two spaces between them, with lines or options at their paths."""
    rows = []
    for problem in problems:
        left, _, message = problem.partition("  ")
        rows.append((left, message.lstrip()))
    return describe_rows(rows, lines)


def wrong_paths(error: ValidationError, model: type[BaseModel], values: Any) -> list[str]:
    """Return the paths of the settings with a mistake, in the order of the errors; the first ones of many."""
    details = error.errors(include_url=False)[:_MAX_EXPLAINED]
    return [left.partition(" = ")[0] for detail in details for left, _ in _rows(detail, model, values)]


def suggest(name: str, known: list[str]) -> str:
    """Return a hint for an unknown name: the nearest known one, or all known ones; empty when there are none."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f'did you mean "{close[0]}"?'
    shown = sorted(known)[:_MAX_NAMES]
    more = f" and {len(known) - len(shown)} more" if len(known) > len(shown) else ""
    return f"known are {', '.join(shown)}{more}" if known else ""


def suggest_setting(path: str, known: list[str]) -> str:
    """Return a hint for an unknown setting: ours for a name of another library, else as ``suggest``.

    Args:
        path: of the setting.
        known: names that may stand in place of its last one, or whole paths.

    Returns:
        The hint.
    """
    setting = setting_for(path)
    if setting is not None:
        return f"did you mean {setting}?"
    whole = any("." in each for each in known)
    return suggest(path if whole else path.rpartition(".")[2], known)


def _rows(detail: ErrorDetails, model: type[BaseModel], values: Any) -> list[tuple[str, str]]:
    path = _plain_path(detail, values)
    dotted = ".".join(path)
    kind = detail["type"]
    if kind == "extra_forbidden":
        hint = _hint_of_other_kinds(model, path, values)
        if hint is None:
            hint = f"unknown setting; {suggest_setting(dotted, _known_names(model, path[:-1], values))}"
        return [(dotted, hint)]
    if kind == "missing":
        return [(dotted, _MESSAGES["missing"])]
    if kind == "union_tag_not_found":
        tag = str(detail["ctx"]["discriminator"]).strip("'")
        return [(f"{dotted}.{tag}", "is missing")]
    if kind == "union_tag_invalid":
        context = {name: str(value).strip("'") for name, value in detail["ctx"].items()}
        expected = context["expected_tags"].replace("'", "")
        return [(f"{dotted}.{context['discriminator']} = {context['tag']}", f"must be one of {expected}")]
    if kind == "value_error":
        return _own_rows(dotted, str(detail["ctx"]["error"]), detail["input"])
    message = _MESSAGES.get(kind)
    text = detail["msg"] if message is None else message.format(**_numbers(detail.get("ctx", {})))
    if kind == "literal_error" and " or " not in detail["ctx"]["expected"]:
        text = f"must be {detail['ctx']['expected']}"
    if kind == "too_short" and detail["ctx"]["min_length"] == 1:
        text = "must have at least one entry"
    if kind == "model_type":
        names = _known_names(model, path, values)
        text += f": {', '.join(names[:_MAX_NAMES])}" if names else ""
    if isinstance(detail["input"], list) and path[:1] == ["parameters"] and len(path) == 2:  # of a search space
        text = f"is a list; for a choice write {{kind: choice, values: {_shown(detail['input'])}}}"
    if kind == "string_type" and isinstance(detail["input"], bool | int | float | date):
        text = f'{text}: put it in quotes, "{format_value(detail["input"])}"'
    shown = _shown(detail["input"])
    return [(dotted if shown is None else f"{dotted} = {shown}", text)]


def _own_rows(dotted: str, text: str, value: Any) -> list[tuple[str, str]]:
    rows = []
    for line in text.splitlines():
        if "\t" in line:
            left, message = line.split("\t", 1)
            rows.append((left, message))
        else:
            shown = _shown(value)
            rows.append((dotted if shown is None else f"{dotted} = {shown}", line))
    return rows


def _plain_path(detail: ErrorDetails, values: Any) -> list[str]:
    """Return the path as in the file, without the names that pydantic adds for the members of a union."""
    path: list[str] = []
    here, loc = values, detail["loc"]
    for index, name in enumerate(loc):
        is_missing = detail["type"] == "missing" and index == len(loc) - 1
        if isinstance(here, Mapping) and (name in here or is_missing):
            here = here.get(name)
        elif isinstance(here, list) and isinstance(name, int) and name < len(here):
            here = here[name]
        else:
            continue
        path.append(str(name))
    return path


def _known_names(model: type[BaseModel], path: list[str], values: Any) -> list[str]:
    models, here = _models_at(model, path, values)
    current = _chosen(models, here)
    return list(current.model_fields) if current is not None else []


def _hint_of_other_kinds(model: type[BaseModel], path: list[str], values: Any) -> str | None:
    """Return a hint for a setting that other kinds or families of its section have; None if none has it."""
    models, here = _models_at(model, path[:-1], values)
    chosen = _chosen(models, here)
    tag = None if chosen is None else next((each for each in _TAGS if each in chosen.model_fields), None)
    others = [each for each in models if each is not chosen and path[-1] in each.model_fields]
    if tag is None or not others:
        return None
    names = sorted(str(name) for each in others for name in get_args(each.model_fields[tag].annotation))
    return f"is no setting of {tag} {here.get(tag, '')}".rstrip() + f", but of {tag} {', '.join(names)}"


def _models_at(model: type[BaseModel], path: list[str], values: Any) -> tuple[list[type[BaseModel]], Any]:
    """Return the possible models of a section, and its values."""
    here: Any = values
    models = [model]
    for name in path:
        current = _chosen(models, here)
        here = here.get(name) if isinstance(here, Mapping) else None
        field = current.model_fields.get(name) if current is not None else None
        models = list(_models_in(field.annotation if field is not None else None))
    return models, here


def _chosen(models: list[type[BaseModel]], value: Any) -> type[BaseModel] | None:
    if len(models) > 1 and isinstance(value, Mapping):
        for model in models:
            for tag in _TAGS:
                field = model.model_fields.get(tag)
                if field is not None and value.get(tag) in get_args(field.annotation):
                    return model
    return models[0] if models else None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]


def _numbers(context: Mapping[str, Any]) -> dict[str, Any]:
    return {name: f"{value:g}" if isinstance(value, float) else value for name, value in context.items()}


def _shown(value: Any) -> str | None:
    if isinstance(value, Mapping | BaseModel) or value == []:
        return None
    text = f"[{', '.join(map(format_value, value))}]" if isinstance(value, list) else format_value(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
