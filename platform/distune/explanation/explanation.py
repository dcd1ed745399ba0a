"""An explanation of a study: findings, and tables that show where the gain is."""

from __future__ import annotations

import dataclasses
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


def problems_first(findings: list[Finding]) -> tuple[Finding, ...]:
    """Return the findings with the problems first, then those that are unknown, else in their order."""
    return tuple(sorted(findings, key=lambda each: _ORDER.index(each.state)))
