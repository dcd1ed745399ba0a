"""Values as text for users."""

from __future__ import annotations

from typing import Any

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0


def format_value(value: Any, *, digits: int | None = None) -> str:
    """Return a value as in YAML, such as ``true`` or ``null``; ``digits`` is the precision of a float, None is full."""
    if value is None or isinstance(value, bool):
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:.{digits}g}" if isinstance(value, float) and digits is not None else str(value)


def show_duration(seconds: float) -> str:
    """Return a rounded duration, such as ``40 s``, ``12 min``, ``3.5 h`` or ``4.2 days``."""
    if seconds < 1.5 * _MINUTE:
        return f"{max(1, round(seconds))} s"
    if seconds < 1.5 * _HOUR:
        return f"{round(seconds / _MINUTE)} min"
    if seconds < 2 * _DAY:
        return f"{seconds / _HOUR:.1f} h"
    return f"{seconds / _DAY:.1f} days"
