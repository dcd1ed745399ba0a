"""Options that several verbs share."""

from __future__ import annotations

from typing import Annotated

import typer

ExperimentArgument = Annotated[
    str, typer.Argument(help="Name of a shipped experiment, or the path of a YAML file.", show_default=False)
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
