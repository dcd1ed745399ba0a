"""Events that a tracker records, each with the time at which it happened, and their JSON lines."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from typing import Any

from distune.records import EpochReport, ParameterValue, TrialRecord, TrialSpec
from distune.tracking.old_events import update_old_line
from distune.tracking.study_view import StudyView


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyStarted:
    """A session of the study started. ``params`` are its main settings."""

    at_ms: int
    params: dict[str, ParameterValue]
    tags: dict[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialStarted:
    """A trial started or resumed. ``names`` are the short names of its parameters, by their paths.

    It holds the fields of the ``TrialSpec`` that a tracker shows, and not the experiment, which is long and may hold
    passwords.
    """

    at_ms: int
    key: str
    control: bool
    seed: int
    num_epochs: int
    params: dict[str, ParameterValue]
    tags: dict[str, str] = dataclasses.field(default_factory=dict)
    names: dict[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def from_spec(cls, spec: TrialSpec, at_ms: int, names: Mapping[str, str] | None = None) -> TrialStarted:
        """Return the event of a trial that starts or resumes; ``names`` are path to short name of its parameters."""
        return cls(
            at_ms=at_ms,
            key=spec.key,
            control=spec.control,
            seed=spec.seed,
            num_epochs=spec.num_epochs,
            params=dict(spec.params),
            tags=dict(spec.tags),
            names={path: name for path, name in (names or {}).items() if path in spec.params},
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialReplaced:
    """The trial ``key`` is trained anew from its first epoch: what was logged before belongs to another training."""

    at_ms: int
    key: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpochLogged:
    """The trial ``key`` finished an epoch."""

    key: str
    report: EpochReport

    @property
    def at_ms(self) -> int:
        """Time at which the epoch finished, the same each time that the report is logged."""
        return round(self.report.finished_at * 1000)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileLogged:
    """A file or a folder belongs to a trial, or to the study when ``key`` is None.

    In the spool, ``path`` is relative to the folder of the study. A file elsewhere is not sent.
    """

    at_ms: int
    key: str | None
    path: str
    folder: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialEnded:
    """A trial ended or was interrupted."""

    at_ms: int
    record: TrialRecord


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialLogged:
    """Figures of a trial that has ended, which replace earlier ones. ``params`` are those that its run may lack."""

    at_ms: int
    key: str
    step: int
    metrics: dict[str, float]
    params: dict[str, ParameterValue]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ViewLogged:
    """The view of the study in the UI."""

    at_ms: int
    view: StudyView


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyDescribed:
    """The result of the study in a sentence, and its description in Markdown."""

    at_ms: int
    headline: str
    note: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyLogged:
    """Metrics and tags of the study as a whole."""

    at_ms: int
    metrics: dict[str, float]
    tags: dict[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyEnded:
    """The session ended: ``finished``, ``interrupted`` or ``failed``."""

    at_ms: int
    state: str


Event = (
    StudyStarted
    | TrialStarted
    | TrialReplaced
    | EpochLogged
    | FileLogged
    | TrialEnded
    | TrialLogged
    | ViewLogged
    | StudyDescribed
    | StudyLogged
    | StudyEnded
)

EVENT_KINDS: dict[str, type[Event]] = {
    "study_started": StudyStarted,
    "trial_started": TrialStarted,
    "trial_replaced": TrialReplaced,
    "epoch": EpochLogged,
    "file": FileLogged,
    "trial_ended": TrialEnded,
    "trial": TrialLogged,
    "view": ViewLogged,
    "description": StudyDescribed,
    "study": StudyLogged,
    "study_ended": StudyEnded,
}
_KIND_NAMES = {kind: name for name, kind in EVENT_KINDS.items()}


def now_ms() -> int:
    """Return milliseconds since 1970, the unit of time in MLflow."""
    return time.time_ns() // 1_000_000


def encode(event: Event) -> bytes:
    """Return an event as one JSON line, with its line end. NaN and infinities are kept."""
    values = {"event": _KIND_NAMES[type(event)], **dataclasses.asdict(event)}
    return json.dumps(values, default=_to_json).encode() + b"\n"


def decode(line: bytes) -> Event:
    """Return the event of a line from ``encode``, of this version or an earlier one.

    Args:
        line: with or without its line end.

    Returns:
        The event.

    Raises:
        ValueError: the line is not an event.
    """
    try:
        values: dict[str, Any] = update_old_line(json.loads(line))
        kind = EVENT_KINDS[values.pop("event")]
        if kind is EpochLogged:
            values["report"] = EpochReport.from_dict(values["report"])
        if kind is TrialEnded:
            values["record"] = TrialRecord.from_dict(values["record"])
        if kind is ViewLogged:
            view = values["view"]
            values["view"] = StudyView(**{**view, "params": tuple(view["params"]), "costs": tuple(view["costs"])})
        return kind(**values)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no event: {error!r}") from None


def _to_json(value: Any) -> Any:
    """Convert a value that JSON does not know: numbers of numpy and torch to float, anything else to text."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)
