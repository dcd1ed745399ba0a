"""Ctrl-C, SIGTERM and a closed terminal as a request that runners poll, so that a session closes what is open."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, the signal that Slurm, Kubernetes and ``kill`` send, and that of a terminal that is closed."""


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether a signal has asked to stop. A second signal raises ``KeyboardInterrupt``.

    Outside of the main thread no signals are handled. SIGHUP stays ignored where it is, such as under ``nohup``.
    """
    is_requested = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal is_requested
        if is_requested:
            raise KeyboardInterrupt  # at once, not at the end of the epoch
        is_requested = True

    is_main = threading.current_thread() is threading.main_thread()
    is_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    handled = [number for number in SIGNALS if number != signal.SIGHUP or not is_ignored] if is_main else []
    before = {number: signal.signal(number, handle) for number in handled}
    try:
        yield lambda: is_requested
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
