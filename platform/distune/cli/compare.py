"""``distune compare``: studies and trials side by side."""

from __future__ import annotations

from typing import Annotated

import typer

from distune.cli.completion import complete_study
from distune.cli.options import JsonOption
from distune.cli.output import out, print_json
from distune.reports.student_comparison import comparison_tables


def compare(
    students: Annotated[
        list[str],
        typer.Argument(
            metavar="STUDY[/TRIAL]...",
            help="Studies such as quick, which stand for their confirmed trial or else their best one, and trials such "
            "as quick/3 and quick/control; at least two.",
            show_default=False,
            autocompletion=complete_study,
        ),
    ],
    *,
    classes: Annotated[bool, typer.Option("--classes", help="Show the AP of each class.")] = False,
    json: JsonOption = False,
) -> None:
    """Compare students: scores of their best epochs, epochs, seconds, gains, and the settings that differ.

    Scores are on the search split. The gain is over the control of the search; the confirmed gain has its interval.
    Figures of studies with different data or metrics cannot be compared, and a line says so.

    Examples:

        distune compare quick other

        distune compare quick quick/3 quick/control --classes
    """
    import distune

    comparison = distune.compare(students, classes=classes)
    if json:
        print_json(comparison.to_dict())
        return
    for table in comparison_tables(comparison):
        out.print(table)
        out.print()
    if not comparison.settings:
        out.print("no setting differs")
    for text in comparison.warnings:
        out.print(f"warning: {text}", style="bold red")
    if all(student.simulated for student in comparison.students):
        out.print("simulated studies: nothing was trained", style="yellow")
