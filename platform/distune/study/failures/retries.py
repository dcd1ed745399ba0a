"""Decides whether a trial that failed is tried again. Pure values; the engine acts on them.

Running out of memory and losing a worker are not the trial's own doing as often as not: others were on the same device,
or a machine went away. Each gets a second chance, after the last epoch on record. Everything else fails at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from distune.study.failures.reasons import OUT_OF_MEMORY, WORKER_DIED, is_of_kind


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setback:
    """A failure after which a trial was tried again.

    Attributes:
        reason: in the words of ``describe_failure``.
        epochs: how many were done.
    """

    reason: str
    epochs: int

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return dataclasses.asdict(self)


def may_try_again(setback: Setback, earlier: Sequence[Setback]) -> bool:
    """Whether a trial is tried again after a setback.

    Out of memory: once in the life of a trial, alone. A lost worker: again, as long as each attempt comes further than
    the one before; a trial that ends its worker in the same epoch twice is to blame for it.
    """
    if is_of_kind(setback.reason, OUT_OF_MEMORY):
        return not must_be_alone(earlier)
    if is_of_kind(setback.reason, WORKER_DIED):
        lost = [each.epochs for each in earlier if is_of_kind(each.reason, WORKER_DIED)]
        return not lost or setback.epochs > max(lost)
    return False


def must_be_alone(setbacks: Iterable[Setback]) -> bool:
    """Whether no other trial may be on the device of a trial with these setbacks."""
    return any(is_of_kind(each.reason, OUT_OF_MEMORY) for each in setbacks)


def describe_setback(key: str, setback: Setback) -> str:
    """What a person is told."""
    how = "once more, alone on its device" if must_be_alone([setback]) else "again, with another worker"
    return f"trial {key}: {setback.reason}; it is tried {how}, after epoch {setback.epochs}"
