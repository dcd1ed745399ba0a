"""The probe of ``distune validate --probe`` in print: a line per parameter, and a table at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from distune.cli.output import out
from distune.reports.tables import short_name, show_value

if TYPE_CHECKING:
    from distune.training.probe.findings import Finding

_TABLE_WIDTH = 110


def describe_finding(finding: Finding) -> str:
    """Return a finding in one line."""
    found = ", ".join(part for part in (str(finding.verdict), _moved(finding), finding.remark) if part)
    return f"{finding.path} at {_values(finding)}: {found}"


def print_findings(findings: Sequence[Finding]) -> None:
    """Print the table of a probe's findings, and a line for each parameter that needs one."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("parameter", "between", "verdict", "changed most"):
        table.add_column(name, no_wrap=True)
    for name in ("by", "in epoch"):
        table.add_column(name, justify="right", no_wrap=True)
    for finding in findings:
        moved = ("", "", "")
        if finding.moved is not None:
            moved = (finding.moved.name, f"{finding.moved.share:.2%}", str(finding.moved.epoch))
        style = "bold red" if finding.is_wrong else ""
        table.add_row(short_name(finding.path), _values(finding), str(finding.verdict), *moved, style=style)
    # At full width: cut to a narrow terminal, or to the 80 columns of a log, numbers would be lost.
    Console(width=max(out.width, _TABLE_WIDTH)).print(table)
    for finding in findings:
        if finding.remark and not finding.is_wrong:
            out.print(f"{finding.path} {finding.verdict}: {finding.remark}", markup=False)


def _values(finding: Finding) -> str:
    return " and ".join(map(show_value, finding.values))


def _moved(finding: Finding) -> str:
    moved = finding.moved
    if moved is None:
        return ""
    return f"{moved.name} by {moved.share:.2%} in epoch {moved.epoch} ({moved.first:.4g}, {moved.second:.4g})"
