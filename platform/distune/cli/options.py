"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

ExperimentArgument = Annotated[
    str, typer.Argument(help="Name of a shipped experiment, or path of a YAML file.", show_default=False)
]
StudyArgument = Annotated[str, typer.Argument(help="Name of the study.", show_default=False)]
SetOption = Annotated[
    list[str],
    typer.Option("--set", metavar="PATH=VALUE", help="Change a setting, e.g. training.epochs=3. May be repeated."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
FixOption = Annotated[
    list[str],
    typer.Option("--fix", metavar="PATH=VALUE", help="Fix a parameter of the search space. May be repeated."),
]


class RunnerName(StrEnum):
    """Where trials run."""

    ray = "ray"
    local = "local"


class SplitName(StrEnum):
    """The split to score on."""

    search = "search"
    test = "test"


def assignments(option: str, given: Sequence[str]) -> dict[str, Any]:
    """Turn ``path=value`` arguments into a mapping; values are read as YAML.

    Raises:
        UsageError: an argument is not of the form ``path=value``.
    """
    from distune.config.yaml import parse_value
    from distune.errors import UsageError

    found: dict[str, Any] = {}
    for argument in given:
        path, separator, text = argument.partition("=")
        if not separator or not path.strip():
            raise UsageError(f"{option} {argument}: write it as path=value, such as training.epochs=3")
        found[path.strip()] = parse_value(text)
    return found
