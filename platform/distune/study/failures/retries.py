"""Retries: which failures give a trial another attempt. Pure values; the engine applies them.

A trial often runs out of memory because others share its device, and loses its worker because a machine went away.
Both failures get another attempt, which continues after the last recorded epoch. All others fail the trial at once.

A worker that trains several trials takes them all along when it dies. Which one was the cause is not known, so each of
them trains its next epoch alone: the cause dies again, and the others join each other afterwards.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Sequence
from typing import Any

from distune.study.failures.reasons import OUT_OF_MEMORY, WORKER_DIED, is_of_kind


class Company(enum.StrEnum):
    """Permission of other trials to share the device of a trial."""

    SHARED = "shared"
    ALONE_FOR_AN_EPOCH = "alone for an epoch"  # to find out which of several trials has ended their worker
    ALONE = "alone"  # it ran out of memory when it shared its device


@dataclasses.dataclass(frozen=True, kw_only=True)
class Retry:
    """A failure after which a trial was tried again.

    Attributes:
        reason: as returned by ``describe_failure``.
        epochs: number of epochs done before the failure.
        in_company: whether its worker was training other trials as well, one of which may be the cause.
    """

    reason: str
    epochs: int
    in_company: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        values = dataclasses.asdict(self)
        return values if self.in_company else {name: values[name] for name in ("reason", "epochs")}


def may_retry(failure: Retry, earlier: Sequence[Retry]) -> bool:
    """Return whether a trial gets another attempt after a failure.

    Out of memory: once per trial, alone on its device. A lost worker: as long as each attempt gets further than the one
    before, since a trial that kills its worker twice in the same epoch is the cause itself. A worker that was lost in
    company does not count: the next epoch is trained alone.
    """
    if is_of_kind(failure.reason, OUT_OF_MEMORY):
        return not needs_exclusive_device(earlier)
    if is_of_kind(failure.reason, WORKER_DIED):
        lost = [each.epochs for each in earlier if is_of_kind(each.reason, WORKER_DIED) and not each.in_company]
        return failure.in_company or not lost or failure.epochs > max(lost)
    return False


def company_of(retries: Sequence[Retry], *, epochs: int) -> Company:
    """Return whether a trial may share its device.

    Args:
        retries: of the trial.
        epochs: number of epochs that it has done.

    Returns:
        ALONE after it ran out of memory; ALONE_FOR_AN_EPOCH while it has not got further since it lost a worker; else
        SHARED.
    """
    if needs_exclusive_device(retries):
        return Company.ALONE
    is_suspect = bool(retries) and is_of_kind(retries[-1].reason, WORKER_DIED) and epochs <= retries[-1].epochs
    return Company.ALONE_FOR_AN_EPOCH if is_suspect else Company.SHARED


def needs_exclusive_device(retries: Iterable[Retry]) -> bool:
    """Return whether a trial must not share its device, because it ran out of memory before."""
    return any(is_of_kind(each.reason, OUT_OF_MEMORY) for each in retries)


def describe_retry(key: str, retry: Retry) -> str:
    """Return the message for the user."""
    how = "with another worker,"
    if needs_exclusive_device([retry]):
        how = "once more, alone on its device,"
    elif retry.in_company:
        how = "an epoch alone, since one of the trials of its worker may be the cause,"
    return f"trial {key}: {retry.reason}; retrying {how} after epoch {retry.epochs}"
