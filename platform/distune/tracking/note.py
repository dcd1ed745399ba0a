"""Notes of runs and experiments, which the MLflow UI shows as their description in Markdown. Pure functions."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

NOTE_TAG = "mlflow.note.content"
"""Tag of a run or an experiment that holds its note."""
MAX_NOTE_LENGTH = 4900
"""In characters, with the mark. Tags of experiments have at most 5,000 in the oldest servers."""

_SPECIAL = re.compile(r"([\\`*_{}\[\]#!|~])")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_MARK = re.compile(r"\s*<!-- distune ([0-9a-f]{16}) -->\s*\Z")


def escape_markdown(text: str) -> str:
    """Return a text in one line that Markdown shows as it is within a line, also in a cell of a table."""
    escaped = _SPECIAL.sub(r"\\\1", " ".join(text.split()))
    return "".join(_ENTITIES.get(character, character) for character in escaped)


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table.

    Args:
        header: titles of the columns.
        rows: cells as plain text; they are escaped.

    Returns:
        A line for the header, one for the rule, and one per row.
    """
    lines = [[escape_markdown(cell) for cell in row] for row in (header, *rows)]
    shown = [f"| {' | '.join(line)} |" for line in lines]
    return [shown[0], f"|{'---|' * len(header)}", *shown[1:]]


def mark_note(text: str) -> str:
    """Return a note with a mark that Markdown hides, and by which a later session knows that it was not edited."""
    text = text.strip()[: MAX_NOTE_LENGTH - 50].rstrip()
    return f"{text}\n\n<!-- distune {_digest(text)} -->"


def may_replace_note(present: str | None) -> bool:
    """Return whether a note may be replaced: it is empty, or it is one of distune's that was not edited."""
    if present is None or not present.strip():
        return True
    found = _MARK.search(present)
    return found is not None and found[1] == _digest(present[: found.start()])


def experiment_note(studies: Iterable[tuple[str, str]]) -> str:
    """Return the note of an experiment.

    Args:
        studies: name and verdict of each study, the latest first.

    Returns:
        A line per study, as many as fit. Without a mark.
    """
    lines, left = [], MAX_NOTE_LENGTH - 100
    for name, verdict in studies:
        line = f"- **{escape_markdown(name)}**: {escape_markdown(verdict)}"
        left -= len(line) + 1
        if left < 0:
            lines.append("- ...")
            break
        lines.append(line)
    return "\n".join(lines)


def _digest(text: str) -> str:
    return hashlib.sha256(text.strip().encode()).hexdigest()[:16]
