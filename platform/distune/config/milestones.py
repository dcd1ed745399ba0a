"""Checks the milestones of a learning-rate schedule, which other libraries give in epochs or steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distune.config.format_value import format_value


def milestone_rows(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the milestones that no training reaches, or that its first step has passed.

    Only for files of users: an earlier study with such a value resumes as it began.

    Args:
        values: plain data of an experiment, not validated.

    Returns:
        A row for each section, of the setting and a message.
    """
    rows = []
    for section in ("training", "teacher_training"):
        given = values.get(section)
        schedule = given.get("schedule") if isinstance(given, Mapping) else None
        milestones = schedule.get("milestones") if isinstance(schedule, Mapping) else None
        numbers = [each for each in milestones if _is_number(each)] if isinstance(milestones, list) else []
        if any(not 0 < each < 1 for each in numbers):
            shown = ", ".join(map(format_value, numbers))
            rows.append(
                (
                    f"{section}.schedule.milestones = [{shown}]",
                    "must be fractions of the training steps, each between 0 and 1: epoch 8 of 12 is 0.6667",
                )
            )
    return rows


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
