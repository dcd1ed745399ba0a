"""Turns Ctrl-C and SIGTERM into a wish that runners ask for, so that a session can close what it has open."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Ctrl-C, and what Slurm, Kubernetes and `kill` send."""


class StopRequest:
    """Whether a signal has asked this session to stop."""

    def __init__(self) -> None:
        self.is_made = False

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.is_made

    def install(self) -> None:
        """Handle the signals; again after a library has put its own handlers in place. Does nothing in a thread."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.is_made:
            raise KeyboardInterrupt  # the second time: now, and not at the end of the epoch
        self.is_made = True


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Handle the signals for the length of a session."""
    request = StopRequest()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    request.install()
    try:
        yield request
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)
