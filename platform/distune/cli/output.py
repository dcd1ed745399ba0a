"""Printing: results on standard output, progress on standard error."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich.table import Table

from distune.reports.console import make_console
from distune.reports.warnings_text import warning_lines
from distune.study.failures.failed_study import describe_failed_controls

if TYPE_CHECKING:
    from distune.data.data_card import DataCard
    from distune.study.status import StudyStatus

out = make_console()
progress = make_console(stderr=True)


def print_json(values: Any) -> None:
    """Print JSON and nothing else."""
    out.out(json.dumps(values, indent=2, allow_nan=False, default=str), highlight=False)


def print_data_card(card: DataCard) -> None:
    """Print what is wrong with the data, what they contain, and whether a study can be launched."""
    from distune.reports.data_card_tables import data_card_lines, data_card_tables

    for line in data_card_lines(card):
        out.print(f"data: {line}", style="yellow" if line.startswith(("warning", "skipped")) else None)
    for table in data_card_tables(card):
        out.print(table)
    out.print(f"data: {card.verdict}")


def print_warnings(status: StudyStatus) -> None:
    """Print the warnings about lost records, controls, identical numbers of trials, and the distillation of trials."""
    if status.unrecorded:
        from distune.study.unrecorded import describe_unrecorded

        text = describe_unrecorded(status.unrecorded)
        out.print(f"warning: {text}; rebuild them: distune repair {status.study}", style="bold red")
    if status.copied_from is not None:
        text = f"this study is a copy of study {status.copied_from}; give it a key of its own"
        out.print(f"warning: {text}: distune repair {status.study}", style="bold red")
    print_damage(status)
    for line in status.lost:
        out.print(f"warning: {line}", style="yellow")
    controls = None if status.state == "running" else describe_failed_controls(status.trials)
    if controls is not None:
        out.print(f"warning: the gain is unknown: {controls}", style="bold red")
    for group in status.identical_trials:
        out.print(f"warning: {group}", style="bold red")
    for line in warning_lines(status.trials):
        out.print(f"warning: {line}", style="yellow")


def print_damage(status: StudyStatus) -> None:
    """Print which trials have damaged lines, and whether their best epoch may be another one."""
    for each in status.damaged:
        out.print(f"warning: {each}", style="yellow")


def print_if_simulated(*, simulated: bool) -> None:
    """Print that the results are simulated; nothing when they are real."""
    if simulated:
        out.print("simulated study: nothing was trained", style="yellow")


def print_pareto_front(status: StudyStatus) -> None:
    """Print the trials on the Pareto front, and the controls; nothing for a single objective."""
    if not status.pareto_front:
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("Pareto front", status.metric, *status.costs):
        table.add_column(name, justify="left" if name == "Pareto front" else "right", no_wrap=True)
    controls = [trial for trial in status.trials if trial.control and trial.metrics]
    for trial in (*status.pareto_front, *controls):
        costs = [f"{trial.metrics[cost]:.4g}" if cost in trial.metrics else "" for cost in status.costs]
        table.add_row(trial.key, f"{trial.metrics[status.metric]:.1f}", *costs, style="dim" if trial.control else "")
    out.print(table)
