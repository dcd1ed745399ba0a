"""Finds lists where a parameter must have a single value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distune.config.format_value import format_value


def list_problems(path: str, chosen: Any) -> list[str]:
    """Return the lists and mappings among chosen values, each as ``path = value<tab>message``.

    Args:
        path: of the mapping.
        chosen: parameter to value.

    Returns:
        A line for each value that is not a single one; none if ``chosen`` is no mapping.
    """
    problems = []
    for name, value in chosen.items() if isinstance(chosen, Mapping) else []:
        if isinstance(value, list):
            shown = ", ".join(map(format_value, value))
            problems.append(
                f"{path}.{name} = [{shown}]\tmust be a single value; a list of values belongs in a search space, as "
                f"{name}: {{kind: choice, values: [{shown}]}}"
            )
        elif isinstance(value, Mapping):
            problems.append(f"{path}.{name}\tmust be a single value; a range belongs in a search space")
    return problems
