"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distune.cli.completion import complete_experiment, complete_study

if TYPE_CHECKING:
    from distune.config.load import LoadedExperiment

ExperimentArgument = Annotated[
    str,
    typer.Argument(
        help="Name of a shipped experiment, or path of a YAML file.",
        show_default=False,
        autocompletion=complete_experiment,
    ),
]
StudyArgument = Annotated[
    str, typer.Argument(help="Name of the study.", show_default=False, autocompletion=complete_study)
]
SetOption = Annotated[
    list[str],
    typer.Option("--set", metavar="PATH=VALUE", help="Change a setting, e.g. training.epochs=3. May be repeated."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
FixOption = Annotated[
    list[str],
    typer.Option("--fix", metavar="PATH=VALUE", help="Fix a parameter of the search space. May be repeated."),
]


OPTIONS = ("--set", "--fix")
"""Names of overrides and fixed parameters in messages."""


class RunnerName(StrEnum):
    """The runner of the trials."""

    ray = "ray"
    local = "local"


class SplitName(StrEnum):
    """The split to score on."""

    search = "search"
    test = "test"


def load(
    experiment: str | Path, given: Sequence[str] = (), *, fixed: Sequence[str] = (), check_space: bool = True
) -> LoadedExperiment:
    """Load an experiment with the values of ``--set`` and ``--fix``.

    Raises:
        ConfigError: the experiment or its search space is not valid; the message lists all problems.
        UsageError: an argument is not of the form ``path=value``, or there is no such file.
    """
    from distune.config.load import load_experiment

    overrides, constants = assignments(OPTIONS[0], given), assignments(OPTIONS[1], fixed)
    return load_experiment(experiment, overrides=overrides, fixed=constants, check_space=check_space, options=OPTIONS)


def assignments(option: str, given: Sequence[str]) -> dict[str, Any]:
    """Turn ``path=value`` arguments into a mapping; values are read as YAML.

    Raises:
        UsageError: an argument is not of the form ``path=value``, or its number is ambiguous.
    """
    from distune.config.yaml import parse_value
    from distune.errors import UsageError

    found: dict[str, Any] = {}
    problems = []
    for argument in given:
        path, separator, text = argument.partition("=")
        if not separator or not all(path.strip().split(".")):
            problems.append(f"{option} {argument}: write it as path=value, such as training.epochs=3")
            continue
        try:
            found[path.strip()] = parse_value(text)
        except ValueError as error:
            problems.append(f"{option} {argument}: {error}")
    if problems:
        raise UsageError("\n".join(problems))
    return found


def repeated(command: str, options: Mapping[str, object]) -> str:
    """Return a command with the options that were given, to be entered again.

    Args:
        command: such as ``distune confirm first``.
        options: name to value; None and False were not given, and True is a flag.

    Returns:
        The command.
    """
    given = [(name, value) for name, value in options.items() if value is not None and value is not False]
    return " ".join([command, *(name if value is True else f"{name} {value}" for name, value in given)])
