"""The result of a check: one line with a figure, and what to try next."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any


class FindingState(enum.StrEnum):
    """Result of a check."""

    OK = "ok"
    PROBLEM = "problem"
    UNKNOWN = "unknown"  # the study does not hold what the check needs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one check of a study.

    Attributes:
        check: name of the check, such as ``teacher``.
        state: of the check.
        text: one sentence with the figure.
        advice: what to try next; empty where there is nothing to do.
        details: the figures behind it, JSON-ready.
    """

    check: str
    state: FindingState
    text: str
    advice: str = ""
    details: dict[str, Any] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return dataclasses.asdict(self)
