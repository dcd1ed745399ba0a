"""The probe of ``distune validate --probe`` in print: a line per parameter, and a table at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from distune.cli.output import out
from distune.config.format_value import format_value
from distune.reports.console import make_console
from distune.reports.tables import short_name
from distune.training.probe.comparison import WEAK_FRACTION

if TYPE_CHECKING:
    from distune.training.probe.findings import Finding

_TABLE_WIDTH = 110


def describe_finding(finding: Finding) -> str:
    """Return a finding in one line."""
    text = ", ".join(part for part in (str(finding.verdict), _change(finding), finding.remark) if part)
    return f"{finding.path} at {_values(finding)}: {text}"


def print_findings(findings: Sequence[Finding]) -> None:
    """Print the table of a probe's findings, and the remarks."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("parameter", "between", "verdict", "largest change"):
        table.add_column(name, no_wrap=True)
    for name in ("by", "in epoch"):
        table.add_column(name, justify="right", no_wrap=True)
    for finding in findings:
        change = ("", "", "")
        if finding.change is not None:
            change = (finding.change.name, _percent(finding.change.fraction), str(finding.change.epoch))
        style = "bold red" if finding.is_problem else "yellow" if finding.is_weak else ""
        table.add_row(short_name(finding.path), _values(finding), str(finding.verdict), *change, style=style)
    # At full width: cut to a narrow terminal, or to the 80 columns of a log, numbers would be lost.
    make_console(width=max(out.width, _TABLE_WIDTH)).print(table)
    for finding in findings:
        if finding.remark and not finding.is_problem:
            out.print(f"{finding.path} {finding.verdict}: {finding.remark}")


def _percent(fraction: float) -> str:
    """Return a fraction in percent: with two decimals, or two significant digits if it is less than 0.1%."""
    return f"{fraction:.2%}" if fraction >= WEAK_FRACTION else f"{100 * fraction:.2g}%"


def _values(finding: Finding) -> str:
    return " and ".join(format_value(value, digits=3) for value in finding.values)


def _change(finding: Finding) -> str:
    change = finding.change
    if change is None:
        return ""
    by = f"{_percent(change.fraction)} in epoch {change.epoch}"
    return f"{change.name} by {by} ({change.first:.4g}, {change.second:.4g})"
