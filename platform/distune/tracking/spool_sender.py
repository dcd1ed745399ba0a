"""The thread that sends events from the spool to the sink: in order, retrying while the sink is unavailable."""

from __future__ import annotations

import dataclasses
import json
import logging
import signal
import threading
from collections.abc import Callable, Sequence

import tenacity

from distune.tracking.events import EpochLogged, Event, now_ms
from distune.tracking.sink import EventRefusedError, Sink, SinkUnavailableError
from distune.tracking.spool import Spool, SpoolLine
from distune.tracking.store_version import StoreVersionError
from distune.tracking.uris import redact_uri

_LOG = logging.getLogger(__name__)

_ATTEMPTS_AFTER_CLOSE = 2
_MAX_ERROR_LENGTH = 300
_UNAVAILABLE = "the tracking server is unavailable ({})"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Waits and attempts of the sending thread.

    Attributes:
        linger_s: how long events are collected before they are sent, so that one call carries many epochs.
        first_wait_s: wait after the first failure; each further failure doubles it.
        longest_wait_s: upper limit of a wait.
        attempts: attempts for an event that fails for an unknown reason while the sink is available.
    """

    linger_s: float = 0.5
    first_wait_s: float = 1.0
    longest_wait_s: float = 30.0
    attempts: int = 5


def split_into_batches(lines: Sequence[SpoolLine]) -> list[list[SpoolLine]]:
    """Return the lines that are sent in one call each: epochs in a row together, any other line alone."""
    batches: list[list[SpoolLine]] = []
    for line in lines:
        if batches and isinstance(line.event, EpochLogged) and isinstance(batches[-1][-1].event, EpochLogged):
            batches[-1].append(line)
        else:
            batches.append([line])
    return batches


class SpoolSender:
    """Sends the lines of a spool in its own thread, which starts at once.

    Args:
        spool: read from its committed offset.
        make_sink: called in the thread when there is something to send, and again after a failure.
        policy: waits and attempts.
    """

    def __init__(self, spool: Spool, make_sink: Callable[[], Sink], policy: RetryPolicy) -> None:
        self._spool = spool
        self._make_sink = make_sink
        self._policy = policy
        self._sink: Sink | None = None
        self._is_unavailable = False
        self._num_refused = 0
        self._awake = threading.Event()
        self._closing = threading.Event()
        self._gave_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="distune-tracking", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Tell the thread that the spool has new lines."""
        self._awake.set()

    def close(self, timeout_s: float) -> None:
        """Send the remaining lines for at most ``timeout_s``. The next session sends what is still in the spool."""
        self._closing.set()
        self._awake.set()
        self._thread.join(timeout_s)
        self._gave_up.set()
        if self._spool.has_backlog:
            _LOG.warning("not all events reached the tracking server; the next session sends %s", self._spool.path)
        if self._num_refused:
            _LOG.warning("%d events were refused and are kept in %s", self._num_refused, self._spool.refused_path)

    def _run(self) -> None:
        # The main thread decides when they are handled: not while Ray starts.
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
        try:
            while not self._gave_up.is_set():
                is_closing = self._closing.is_set()
                lines = self._spool.read_from(self._spool.committed)
                if lines:
                    for batch in split_into_batches(lines):
                        self._send(batch)
                elif is_closing:
                    return
                else:
                    self._awake.wait()
                    self._awake.clear()
                    self._closing.wait(self._policy.linger_s)
        except _GivenUpError:
            pass
        except Exception:
            _LOG.exception("tracking failed; the study continues, and its events are kept in %s", self._spool.path)

    def _send(self, batch: Sequence[SpoolLine]) -> None:
        """Send and commit the lines of a batch. When the sink refuses several, each is sent alone."""
        try:
            self._apply_with_retries([_event_of(line) for line in batch])
        except _GivenUpError:
            raise
        except Exception as error:
            if len(batch) == 1:
                self._refuse(batch[0], redact_uri(str(error) or repr(error)))
                return
            for line in batch:
                self._send([line])
            return
        self._spool.commit(batch[-1].end)

    def _apply_with_retries(self, events: Sequence[Event]) -> None:
        """Apply events, waiting for the sink as long as it is unavailable.

        Args:
            events: of one batch.

        Raises:
            EventRefusedError: the sink refuses them.
            Exception: the sink is available but failed too often on them.
            _GivenUpError: the tracker is being closed and the sink is unavailable.
        """
        unknown_failures = 0

        def should_retry(error: BaseException) -> bool:
            nonlocal unknown_failures
            if isinstance(error, EventRefusedError | _GivenUpError):
                return False
            if not isinstance(error, SinkUnavailableError):
                unknown_failures += 1
            return unknown_failures < self._policy.attempts

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(should_retry),
            wait=tenacity.wait_exponential(multiplier=self._policy.first_wait_s, max=self._policy.longest_wait_s),
            before_sleep=self._before_wait,
            sleep=self._wait,
        )
        retrying(self._apply, events)

    def _apply(self, events: Sequence[Event]) -> None:
        if self._gave_up.is_set():
            raise _GivenUpError
        if self._sink is None:
            try:
                self._sink = self._make_sink()
            except StoreVersionError as error:
                raise SinkUnavailableError(str(error)) from error
            except Exception as error:
                raise SinkUnavailableError(str(error) or repr(error)) from None
        try:
            self._sink.apply(events)
        except SinkUnavailableError:
            raise
        except Exception:
            self._log_recovery()
            raise
        self._log_recovery()

    def _log_recovery(self) -> None:
        if self._is_unavailable:
            self._is_unavailable = False
            _LOG.info("the tracking server is available again; the events kept in the spool are being sent")

    def _before_wait(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        if not isinstance(error, SinkUnavailableError):
            return
        if not self._is_unavailable:
            self._is_unavailable = True
            text = _first_line(str(error))
            problem = text if isinstance(error.__cause__, StoreVersionError) else _UNAVAILABLE.format(text)
            _LOG.warning("%s; the study continues, and its events are kept in %s", problem, self._spool.path)
        if self._closing.is_set() and state.attempt_number >= _ATTEMPTS_AFTER_CLOSE:
            raise _GivenUpError

    def _wait(self, seconds: float) -> None:
        """Wait, at most until the tracker is closed or gives up."""
        (self._gave_up if self._closing.is_set() else self._closing).wait(seconds)

    def _refuse(self, line: SpoolLine, error: str) -> None:
        """Move a line to the file of refused ones and continue with the next."""
        if self._num_refused == 0:
            what = "the tracking server refused an event" if line.event is not None else "an event cannot be sent"
            _LOG.warning("%s, kept in %s: %s", what, self._spool.refused_path, _first_line(error))
        self._num_refused += 1
        text = {"at_ms": now_ms(), "error": error, "line": line.text.decode(errors="replace")}
        self._spool.save_refused(json.dumps(text).encode())
        self._spool.commit(line.end)


def _event_of(line: SpoolLine) -> Event:
    if line.event is None:
        raise EventRefusedError(line.error)
    return line.event


def _first_line(text: str) -> str:
    """Return the first line of an error, without secrets and short enough for a terminal."""
    return redact_uri(text.strip().partition("\n")[0])[:_MAX_ERROR_LENGTH]


class _GivenUpError(Exception):
    """The tracker is being closed; the next session sends the remaining lines."""
