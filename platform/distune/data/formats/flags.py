"""Flags in annotation files: 0 or 1, as a number, a truth value or text."""

from __future__ import annotations

from typing import Any

_FLAGS = {"": False, "0": False, "0.0": False, "false": False, "no": False}
_FLAGS |= {"1": True, "1.0": True, "true": True, "yes": True}


def read_flag(value: Any) -> bool | None:
    """Return a flag; an absent one is False. None where it cannot be read."""
    if value is None:
        return False
    if not isinstance(value, (str, bool, int, float)):
        return None
    return _FLAGS.get(str(value).strip().lower())
