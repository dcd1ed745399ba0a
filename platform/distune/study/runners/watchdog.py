"""Speaks up when nothing has happened for long. It ends nothing: only a person can tell slow from stuck."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence

QUIET_S = 300.0
"""So much silence is worth a message; the next one comes after twice as much."""
_POLL_S = 5.0


class Watchdog:
    """Measures silence.

    Args:
        quiet_s: seconds of silence before the first message.
        clock: seconds, from any start.
    """

    def __init__(self, *, quiet_s: float = QUIET_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._quiet_s, self._clock = quiet_s, clock
        self.heard()

    def heard(self) -> None:
        """Something has happened."""
        self._since = self._clock()
        self._next_after_s = self._quiet_s

    def check(self, running: Sequence[str]) -> str | None:
        """What to tell a person now, None as long as there is nothing to tell.

        Args:
            running: keys of the trials that are being worked on.
        """
        silence_s = self._clock() - self._since
        if silence_s < self._next_after_s:
            return None
        self._next_after_s *= 2
        trials = f"trials {', '.join(running)} are running" if running else "no trial is running"
        return (
            f"nothing has been heard for {silence_s / 60:.0f} minutes; {trials}. One epoch may take this long; if not, "
            f"look at the machine, stop with Ctrl-C, and go on with distune resume; resources.epoch_timeout_s bounds it"
        )


@contextlib.contextmanager
def watching(
    watchdog: Watchdog, running: Callable[[], Sequence[str]], say: Callable[[str], None], *, poll_s: float = _POLL_S
) -> Iterator[None]:
    """Let the watchdog check in a thread of its own, for a driver that works itself and may be the one that hangs.

    Args:
        watchdog: is told by others what it has heard.
        running: keys of the trials that are being worked on.
        say: takes the messages, in that thread.
        poll_s: seconds between two checks.
    """
    is_over = threading.Event()

    def check() -> None:
        while not is_over.wait(poll_s):
            message = watchdog.check(running())
            if message is not None:
                say(message)

    thread = threading.Thread(target=check, name="distune-watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
