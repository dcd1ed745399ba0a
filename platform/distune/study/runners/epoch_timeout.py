"""The time limit of an epoch. An epoch that takes longer is ended and leaves a traceback that shows where it hung."""

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
"""First bytes of the report that ``faulthandler`` writes when it ends a process."""

TimeLimit = Callable[[float | None, Path], contextlib.AbstractContextManager[None]]
"""Limits a block to a number of seconds, None for no limit. The file receives the traceback of an ended process."""


class EpochTimeoutError(TrialError):
    """An epoch took longer than its time limit."""


class _Interrupt(BaseException):
    """Not an ``Exception``, so that code that guards one student against the errors of another does not catch it."""


@contextlib.contextmanager
def kill_after(limit_s: float | None, report: Path) -> Iterator[None]:
    """End this process when the block takes longer, and append the traceback to the report.

    For workers: it also ends a process that is inside of a call that never returns.
    """
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
    """Raise ``EpochTimeoutError`` in the block when it takes longer. For training in the driver's own process.

    It interrupts Python code and waiting for a file, a lock or another process, but not a call into a library that
    never returns. It does nothing outside of the main thread, the only one that receives signals. No report is written.
    """
    if limit_s is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    is_over = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        if not is_over:
            raise _Interrupt

    handler = signal.signal(signal.SIGALRM, interrupt)
    started = time.monotonic()
    left_s, interval_s = signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    except _Interrupt as timeout:
        raise EpochTimeoutError(describe_timeout(limit_s)) from timeout
    finally:
        is_over = True
        # Restore the timer that the caller had set.
        rest_s = max(1e-3, left_s - (time.monotonic() - started)) if left_s > 0 else 0.0
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, rest_s, interval_s)


@contextlib.contextmanager
def no_limit(limit_s: float | None, report: Path) -> Iterator[None]:
    """Limit nothing: the caller does."""
    yield


def describe_timeout(limit_s: float) -> str:
    """Return the reason of a trial whose epoch took too long."""
    return f"timeout: an epoch took more than resources.epoch_timeout_s = {limit_s:g}"


def describe_joint_timeout(limit_s: float) -> str:
    """Return the reason of trials that were trained together and took too long; the limit holds for each of them."""
    return f"{describe_timeout(limit_s)} for each trial that was trained together"


def has_timed_out(report: Path, *, after: int = 0) -> bool:
    """Return whether ``kill_after`` has ended a worker.

    Args:
        report: the file that was given to ``kill_after``.
        after: number of bytes at its beginning to skip, which earlier attempts wrote.

    Returns:
        False also when there is no such file.
    """
    try:
        lines = report.read_bytes()[after:].splitlines()
    except OSError:
        return False
    return any(line.startswith(_MARK) for line in lines)
