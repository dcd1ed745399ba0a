"""Retries: which failures give a trial another attempt. Pure values; the engine applies them.

A trial often runs out of memory because others share its device, and loses its worker because a machine went away.
Both failures get another attempt, which continues after the last recorded epoch. All others fail the trial at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from distune.study.failures.reasons import OUT_OF_MEMORY, WORKER_DIED, is_of_kind


@dataclasses.dataclass(frozen=True, kw_only=True)
class Retry:
    """A failure after which a trial was tried again.

    Attributes:
        reason: as returned by ``describe_failure``.
        epochs: number of epochs done before the failure.
    """

    reason: str
    epochs: int

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return dataclasses.asdict(self)


def may_retry(failure: Retry, earlier: Sequence[Retry]) -> bool:
    """Return whether a trial gets another attempt after a failure.

    Out of memory: once per trial, alone on its device. A lost worker: as long as each attempt gets further than the one
    before, since a trial that kills its worker twice in the same epoch is the cause itself.
    """
    if is_of_kind(failure.reason, OUT_OF_MEMORY):
        return not needs_exclusive_device(earlier)
    if is_of_kind(failure.reason, WORKER_DIED):
        lost = [each.epochs for each in earlier if is_of_kind(each.reason, WORKER_DIED)]
        return not lost or failure.epochs > max(lost)
    return False


def needs_exclusive_device(retries: Iterable[Retry]) -> bool:
    """Return whether a trial must not share its device, because it ran out of memory before."""
    return any(is_of_kind(each.reason, OUT_OF_MEMORY) for each in retries)


def describe_retry(key: str, retry: Retry) -> str:
    """Return the message for the user."""
    how = "once more, alone on its device," if needs_exclusive_device([retry]) else "with another worker,"
    return f"trial {key}: {retry.reason}; retrying {how} after epoch {retry.epochs}"
