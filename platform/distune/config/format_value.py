"""Values as text for users."""

from __future__ import annotations

from typing import Any


def format_value(value: Any, *, digits: int | None = None) -> str:
    """Return a value as in YAML, such as ``true`` or ``null``; ``digits`` is the precision of a float, None is full."""
    if value is None or isinstance(value, bool):
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:.{digits}g}" if isinstance(value, float) and digits is not None else str(value)
