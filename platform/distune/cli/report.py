"""``distune report``: write the report of a study, one HTML page."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from distune.cli.options import JsonOption, StudyArgument
from distune.cli.output import out, print_json, progress


def report(
    study: StudyArgument,
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="The file. Default: report/report.html in the study's folder."
        ),
    ] = None,
    open: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,  # noqa: A002
    json: JsonOption = False,
) -> None:
    """Write the report of a study: one HTML page.

    It has the verdict with its interval, learning curves, parameters, early stopping, costs, time, images with the
    boxes of teacher, control and best student, the confirmation, and the settings to repeat the study. The page is a
    single file and loads nothing from the network. `launch`, `resume` and `confirm` write it as well; this command
    writes it again, also while the study runs.

    Examples:

        distune report quickstart --open

        distune report quickstart --output quickstart.html
    """
    import distune

    file = distune.load_study(study).report(output)
    if json:
        print_json({"study": study, "report": str(file), "bytes": file.stat().st_size})
    else:
        out.print(f"report: {file}")
    if open and not webbrowser.open(file.resolve().as_uri()):
        progress.print("no browser was found on this machine: copy the file to one that has a browser")
