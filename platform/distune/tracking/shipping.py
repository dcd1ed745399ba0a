"""The one thread that carries events from the spool to the sink: in order, with growing waits while it is away."""

from __future__ import annotations

import dataclasses
import json
import logging
import threading
import time
from collections.abc import Callable, Sequence

import tenacity

from distune.tracking.events import EpochLogged, Event, decode
from distune.tracking.sink import EventRefusedError, Sink, SinkUnavailableError
from distune.tracking.spool import Spool, SpoolLine
from distune.tracking.uris import redact_uri

_LOG = logging.getLogger(__name__)

_ATTEMPTS_AFTER_CLOSE = 2
_MAX_SHOWN = 300


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShippingPolicy:
    """How patient the thread is.

    Attributes:
        linger_s: how long events are gathered before they are sent, so that few calls carry many epochs.
        first_wait_s: wait after a first failure; each further one doubles it.
        longest_wait_s: no wait is longer.
        attempts: how often an event is tried that fails for an unclear reason while the sink answers.
    """

    linger_s: float = 0.5
    first_wait_s: float = 1.0
    longest_wait_s: float = 30.0
    attempts: int = 5


@dataclasses.dataclass(frozen=True)
class Parcel:
    """Events that are sent in one go: several epochs in a row, or any single event."""

    lines: tuple[SpoolLine, ...]
    events: tuple[Event, ...]


@dataclasses.dataclass(frozen=True)
class Unreadable:
    """A line of the spool that is no event."""

    line: SpoolLine
    error: str


def pack(lines: Sequence[SpoolLine]) -> list[Parcel | Unreadable]:
    """Lines as parcels, in their order."""
    parcels: list[Parcel | Unreadable] = []
    for line in lines:
        try:
            event = decode(line.text)
        except ValueError as error:
            parcels.append(Unreadable(line, str(error)))
            continue
        last = parcels[-1] if parcels else None
        if isinstance(event, EpochLogged) and isinstance(last, Parcel) and isinstance(last.events[-1], EpochLogged):
            parcels[-1] = Parcel((*last.lines, line), (*last.events, event))
        else:
            parcels.append(Parcel((line,), (event,)))
    return parcels


class Shipper:
    """Starts its thread at once; ``wake`` it after an append, ``close`` it at the end.

    Args:
        spool: read from its committed offset on.
        make_sink: called in the thread when there is something to send, again after a failure.
        policy: how patient it is.
    """

    def __init__(self, spool: Spool, make_sink: Callable[[], Sink], policy: ShippingPolicy) -> None:
        self._spool = spool
        self._make_sink = make_sink
        self._policy = policy
        self._sink: Sink | None = None
        self._is_away = False
        self._num_refused = 0
        self._awake = threading.Event()
        self._closing = threading.Event()
        self._given_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="distune-tracking", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There is something new in the spool."""
        self._awake.set()

    def close(self, timeout_s: float) -> None:
        """Send what is left, for so many seconds at most. What stays in the spool is for the next session."""
        self._closing.set()
        self._awake.set()
        self._thread.join(timeout_s)
        self._given_up.set()
        if self._spool.has_backlog:
            _LOG.warning("not everything reached the tracking server; the next session sends %s", self._spool.path)
        if self._num_refused:
            _LOG.warning("%d records were refused and are kept in %s", self._num_refused, self._spool.refused_path)

    def _run(self) -> None:
        try:
            while not self._given_up.is_set():
                is_closing = self._closing.is_set()
                lines = self._spool.read_from(self._spool.committed)
                if lines:
                    self._ship_all(pack(lines))
                elif is_closing:
                    return
                else:
                    self._awake.wait()
                    self._awake.clear()
                    self._closing.wait(self._policy.linger_s)
        except _GivenUpError:
            pass
        except Exception:
            _LOG.exception("tracking stopped; the study goes on, and its records stay in %s", self._spool.path)

    def _ship_all(self, parcels: Sequence[Parcel | Unreadable]) -> None:
        for parcel in parcels:
            if isinstance(parcel, Unreadable):
                self._set_aside(parcel.line, parcel.error)
            else:
                self._ship(parcel)

    def _ship(self, parcel: Parcel) -> None:
        """Send a parcel and commit it. One that is refused is opened, and its events are sent one by one."""
        try:
            self._try(parcel.events)
        except _GivenUpError:
            raise
        except Exception as error:
            if len(parcel.lines) == 1:
                self._set_aside(parcel.lines[0], redact_uri(str(error) or repr(error)))
                return
            for line, event in zip(parcel.lines, parcel.events, strict=True):
                self._ship(Parcel((line,), (event,)))
            return
        self._spool.commit(parcel.lines[-1].end)

    def _try(self, events: tuple[Event, ...]) -> None:
        """Apply events, waiting for the sink as long as it takes.

        Raises:
            EventRefusedError: the sink will never take them.
            Exception: the sink answers but failed too often on them.
            _GivenUpError: the tracker is being closed and the sink is away.
        """
        unclear_failures = 0

        def may_try_again(error: BaseException) -> bool:
            nonlocal unclear_failures
            if isinstance(error, EventRefusedError | _GivenUpError):
                return False
            if not isinstance(error, SinkUnavailableError):
                unclear_failures += 1
            return unclear_failures < self._policy.attempts

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(may_try_again),
            wait=tenacity.wait_exponential(multiplier=self._policy.first_wait_s, max=self._policy.longest_wait_s),
            before_sleep=self._before_wait,
            sleep=self._wait,
        )
        retrying(self._attempt, events)

    def _attempt(self, events: tuple[Event, ...]) -> None:
        if self._given_up.is_set():
            raise _GivenUpError
        if self._sink is None:
            try:
                self._sink = self._make_sink()
            except Exception as error:
                raise SinkUnavailableError(str(error) or repr(error)) from None
        try:
            self._sink.apply(events)
        except SinkUnavailableError:
            raise
        except Exception:
            self._say_back()
            raise
        self._say_back()

    def _say_back(self) -> None:
        if self._is_away:
            self._is_away = False
            _LOG.info("the tracking server is back; the records kept meanwhile are being sent")

    def _before_wait(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        if not isinstance(error, SinkUnavailableError):
            return
        if not self._is_away:
            self._is_away = True
            _LOG.warning(
                "the tracking server is away (%s); the study goes on, and its records are kept in %s",
                _brief(str(error)),
                self._spool.path,
            )
        if self._closing.is_set() and state.attempt_number >= _ATTEMPTS_AFTER_CLOSE:
            raise _GivenUpError

    def _wait(self, seconds: float) -> None:
        """Wait, but not past the moment when the tracker is closed or gives up."""
        (self._given_up if self._closing.is_set() else self._closing).wait(seconds)

    def _set_aside(self, line: SpoolLine, error: str) -> None:
        """Keep an event that the sink will never take, and go on with the next."""
        if self._num_refused == 0:
            _LOG.warning(
                "the tracking server refused a record, kept in %s: %s", self._spool.refused_path, _brief(error)
            )
        self._num_refused += 1
        text = {"at_ms": time.time_ns() // 1_000_000, "error": error, "line": line.text.decode(errors="replace")}
        self._spool.set_aside(json.dumps(text).encode())
        self._spool.commit(line.end)


def _brief(text: str) -> str:
    """The first line of an error, without secrets and not too long for a terminal."""
    return redact_uri(text.strip().partition("\n")[0])[:_MAX_SHOWN]


class _GivenUpError(Exception):
    """The tracker is being closed, and what is left is for the next session."""
