"""An explanation of a study: findings, and tables that show where the gain is."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from distune.explanation.finding import Finding, FindingState

Cell = str | int | float | None
"""A number is of the unit that its column says; None is unknown."""

_ORDER = (FindingState.PROBLEM, FindingState.UNKNOWN, FindingState.OK)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExplanationTable:
    """A table.

    Attributes:
        title: of the table.
        columns: their names; the first one names the rows.
        rows: a cell for each column.
        note: how to read it; may be empty.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Explanation:
    """The reasons why distillation helped or did not, in a study.

    Attributes:
        study: its name.
        simulated: nothing was trained.
        summary: the gain in a line.
        findings: a finding for each check: problems first, then those that are unknown.
        tables: that show where the gain is; empty while there are no students.
        notes: reasons why something is missing.
    """

    study: str
    simulated: bool
    summary: str
    findings: tuple[Finding, ...]
    tables: tuple[ExplanationTable, ...]
    notes: tuple[str, ...] = ()

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The findings that are problems."""
        return tuple(each for each in self.findings if each.state is FindingState.PROBLEM)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {
            "study": self.study,
            "simulated": self.simulated,
            "summary": self.summary,
            "findings": [each.to_dict() for each in self.findings],
            "tables": [each.to_dict() for each in self.tables],
            "notes": list(self.notes),
        }


def cell_text(value: Cell) -> str:
    """Return a cell as text."""
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) and abs(value) < 0.1 and value else str(value)


def grouped(findings: Sequence[Finding]) -> list[tuple[str, Finding]]:
    """Return the findings, those of one text once, each with the names of its checks."""
    names: dict[tuple[FindingState, str, str], list[str]] = {}
    for each in findings:
        names.setdefault((each.state, each.text, each.advice), []).append(each.check)
    first = {(each.state, each.text, each.advice): each for each in reversed(findings)}
    return [(", ".join(checks), first[key]) for key, checks in names.items()]


def problems_first(findings: list[Finding]) -> tuple[Finding, ...]:
    """Return the findings with the problems first, then those that are unknown, else in their order."""
    return tuple(sorted(findings, key=lambda each: _ORDER.index(each.state)))
