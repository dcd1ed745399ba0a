"""What a tracker remembers: a handful of events, each with the time at which it happened, and their JSON lines."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import Any

from distune.records import EpochReport, ParameterValue, TrialRecord, TrialSpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyStarted:
    """A session of the study began. ``params`` are its main settings."""

    at_ms: int
    params: dict[str, ParameterValue]
    tags: dict[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialStarted:
    """A trial began, or goes on after an interruption. ``key`` names it within its study."""

    at_ms: int
    key: str
    control: bool
    seed: int
    num_epochs: int
    params: dict[str, ParameterValue]
    tags: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpochLogged:
    """An epoch of a trial ended; ``at_ms`` is the time of the report itself, equal however often it is told."""

    at_ms: int
    key: str
    epoch: int
    metrics: dict[str, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileLogged:
    """A file or a folder belongs to a trial, or to the study when ``key`` is None."""

    at_ms: int
    key: str | None
    path: str
    folder: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialEnded:
    """A trial ended or was interrupted. ``state`` and ``outcome`` are the words of ``distune.records``.

    ``best_at_ms`` is the time of its best epoch, equal however often the end is told.
    """

    at_ms: int
    key: str
    state: str
    outcome: str
    control: bool
    epochs: int
    seed: int
    metrics: dict[str, float]
    reason: str | None
    rung: int | None = None
    best_at_ms: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyLogged:
    """Figures of the study as a whole."""

    at_ms: int
    metrics: dict[str, float]
    tags: dict[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyEnded:
    """The session is over: ``finished``, ``interrupted`` or ``failed``."""

    at_ms: int
    state: str


Event = StudyStarted | TrialStarted | EpochLogged | FileLogged | TrialEnded | StudyLogged | StudyEnded

EVENT_KINDS: dict[str, type[Event]] = {
    "study_started": StudyStarted,
    "trial_started": TrialStarted,
    "epoch": EpochLogged,
    "file": FileLogged,
    "trial_ended": TrialEnded,
    "study": StudyLogged,
    "study_ended": StudyEnded,
}
_KIND_NAMES = {kind: name for name, kind in EVENT_KINDS.items()}


def now_ms() -> int:
    """Milliseconds since 1970, the unit of time in MLflow."""
    return time.time_ns() // 1_000_000


def trial_started(spec: TrialSpec, at_ms: int) -> TrialStarted:
    """The event of a trial that begins or goes on."""
    return TrialStarted(
        at_ms=at_ms,
        key=spec.key,
        control=spec.control,
        seed=spec.seed,
        num_epochs=spec.num_epochs,
        params=dict(spec.params),
        tags=dict(spec.tags),
    )


def epoch_logged(key: str, report: EpochReport) -> EpochLogged:
    """The event of an epoch's end, at the time that the report itself gives."""
    at_ms = round(report.finished_at * 1000)
    return EpochLogged(at_ms=at_ms, key=key, epoch=report.epoch, metrics=dict(report.metrics))


def trial_ended(record: TrialRecord, at_ms: int) -> TrialEnded:
    """The event of a trial that ended or was interrupted."""
    return TrialEnded(
        at_ms=at_ms,
        key=record.key,
        state=str(record.state),
        outcome=str(record.outcome),
        control=record.control,
        epochs=record.epochs,
        seed=record.seed,
        metrics=dict(record.metrics),
        reason=record.reason,
        rung=record.rung,
        best_at_ms=None if record.best_at is None else round(record.best_at * 1000),
    )


def encode(event: Event) -> bytes:
    """One JSON line, with its line end. NaN and infinities stay what they are."""
    values = {"event": _KIND_NAMES[type(event)], **vars(event)}
    return json.dumps(values, default=_as_plain).encode() + b"\n"


def decode(line: bytes) -> Event:
    """The inverse of ``encode``. Raises ``ValueError`` for a line that is no event."""
    try:
        values: dict[str, Any] = json.loads(line)
        kind = EVENT_KINDS[values.pop("event")]
        return kind(**values)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no event: {error!r}") from None


def _as_plain(value: Any) -> Any:
    """What JSON does not know: numbers of numpy and torch become floats, anything else its text."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)
