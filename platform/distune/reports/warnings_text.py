"""The warnings about the distillation of trials in few lines."""

from __future__ import annotations

from collections.abc import Iterable

from distune.records import TrialRecord

_MAX_SHOWN = 8


def warning_lines(trials: Iterable[TrialRecord]) -> list[str]:
    """Return a line for each kind of warning: that of the first trial, and the other trials that have one.

    Args:
        trials: of a study.

    Returns:
        Lines such as ``trial 3: soft_labels had 0.02 of ... (likewise trials 4, 7)``.
    """
    by_kind: dict[str, list[TrialRecord]] = {}
    for trial in trials:
        for kind in trial.warnings:
            by_kind.setdefault(kind, []).append(trial)
    return [_line(kind, found) for kind, found in by_kind.items()]


def _line(kind: str, trials: list[TrialRecord]) -> str:
    first, *others = trials
    line = f"trial {first.key}: {first.warnings[kind]}"
    if not others:
        return line
    shown = ", ".join(trial.key for trial in others[:_MAX_SHOWN])
    more = f" and {len(others) - _MAX_SHOWN} more" if len(others) > _MAX_SHOWN else ""
    return f"{line} (likewise trial{'s' if len(others) > 1 else ''} {shown}{more})"
