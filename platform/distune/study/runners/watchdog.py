"""Warns when no progress is made for long. It ends nothing: only the user can tell a slow epoch from a stuck one."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence

FIRST_WARNING_S = 300.0
"""Time without progress before the first warning; each later one comes after twice the time."""
_POLL_S = 5.0


class Watchdog:
    """Measures the time without progress.

    Args:
        first_warning_s: seconds without progress before the first warning.
        clock: returns seconds, from any start.
    """

    def __init__(
        self, *, first_warning_s: float = FIRST_WARNING_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._first_warning_s, self._clock = first_warning_s, clock
        self.reset()

    def reset(self) -> None:
        """Start to measure again, because there was progress."""
        self._since = self._clock()
        self._next_warning_s = self._first_warning_s

    def check(self, running: Sequence[str]) -> str | None:
        """Check for a warning.

        Args:
            running: keys of the trials that are running.

        Returns:
            A message for the user when a warning is due, None otherwise.
        """
        elapsed_s = self._clock() - self._since
        if elapsed_s < self._next_warning_s:
            return None
        self._next_warning_s *= 2
        trials = f"trials {', '.join(running)} are running" if running else "no trial is running"
        return (
            f"no progress for {elapsed_s / 60:.0f} minutes; {trials}. If an epoch should not take this long, check the "
            f"machine, stop with Ctrl-C and continue with distune resume. resources.epoch_timeout_s limits an epoch"
        )


@contextlib.contextmanager
def watch_in_thread(
    watchdog: Watchdog, running: Callable[[], Sequence[str]], warn: Callable[[str], None], *, poll_s: float = _POLL_S
) -> Iterator[None]:
    """Let the watchdog check in a thread until the block ends, for a runner that trains in the main thread.

    ``running`` returns the keys of the running trials, and ``warn`` receives the warnings, both in that thread.
    """
    is_over = threading.Event()

    def check() -> None:
        while not is_over.wait(poll_s):
            warning = watchdog.check(running())
            if warning is not None:
                warn(warning)

    thread = threading.Thread(target=check, name="distune-watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
