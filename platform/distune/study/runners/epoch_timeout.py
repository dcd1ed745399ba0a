"""A bound on the time of an epoch: what hangs for longer is cut off, and leaves a traceback that shows where."""

from __future__ import annotations

import contextlib
import faulthandler
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from distune.errors import TrialError

_MARK = b"Timeout ("
"""How ``faulthandler`` begins the report of a process that it ends."""

Deadline = Callable[[float | None, Path], contextlib.AbstractContextManager[None]]
"""Bounds the block under it to so many seconds, None for ever. The file takes the traceback of a process that ends."""


class EpochTimeoutError(TrialError):
    """An epoch took longer than it may."""


class _Alarm(BaseException):
    """Rings through whatever guards one student against the errors of another."""


@contextlib.contextmanager
def kill_after(limit_s: float | None, report: Path) -> Iterator[None]:
    """End this process when the block takes longer, whatever it hangs in. For workers that nobody else depends on."""
    if limit_s is None:
        yield
        return
    report.parent.mkdir(parents=True, exist_ok=True)
    with report.open("a", encoding="utf-8") as file:
        faulthandler.dump_traceback_later(limit_s, exit=True, file=file)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()


@contextlib.contextmanager
def raise_after(limit_s: float | None, report: Path) -> Iterator[None]:
    """Raise ``EpochTimeoutError`` in the block when it takes longer. For work in the driver itself.

    It reaches whatever Python can interrupt: waiting for a file, a lock or another process, but not a call into a
    library that never returns. It does nothing outside of the main thread, which alone hears of alarms.
    """
    if limit_s is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    is_over = False

    def ring(number: int, frame: FrameType | None) -> None:
        if not is_over:
            raise _Alarm

    handler = signal.signal(signal.SIGALRM, ring)
    started = time.monotonic()
    left_s, interval_s = signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    except _Alarm as alarm:
        raise EpochTimeoutError(describe_timeout(limit_s)) from alarm
    finally:
        is_over = True
        # Whoever had set an alarm before still gets it.
        rest_s = max(1e-3, left_s - (time.monotonic() - started)) if left_s > 0 else 0.0
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, rest_s, interval_s)


def describe_timeout(limit_s: float) -> str:
    """The reason of a trial that was cut off."""
    return f"timeout: an epoch took more than resources.epoch_timeout_s = {limit_s:g}"


def describe_joint_timeout(limit_s: float) -> str:
    """The reason of several trials that were cut off together; each of them is given so much."""
    return f"{describe_timeout(limit_s)} for each that was trained side by side"


def has_timed_out(report: Path, *, after: int = 0) -> bool:
    """Whether a worker was ended by ``kill_after``, as its file says after so many bytes, which others have left."""
    try:
        lines = report.read_bytes()[after:].splitlines()
    except OSError:
        return False
    return any(line.startswith(_MARK) for line in lines)
