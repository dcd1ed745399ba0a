"""The only place that makes a console: text of users is never markup, and output without a reader is no error."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import IO, Any, cast

from rich.console import Console


def make_console(*, stderr: bool = False, width: int | None = None) -> Console:
    """Return a console that prints text as it is, without wrapping or coloring of numbers.

    A reader that has gone, such as ``head``, and a full disk are no errors: what cannot be printed is lost.

    Args:
        stderr: print to standard error instead of standard output.
        width: in columns; None is that of the terminal.

    Returns:
        The console.
    """
    stream = cast("IO[str]", _Stream("stderr" if stderr else "stdout"))
    return Console(file=stream, width=width, soft_wrap=True, highlight=False, markup=False, emoji=False)


def flush_output() -> None:
    """Flush standard output and standard error, before the interpreter does it and reports what cannot be printed."""
    for name in ("stdout", "stderr"):
        _Stream(name).flush()


class _Stream:
    """Standard output or standard error, as it is at the moment of writing, without errors of the system.

    Args:
        name: ``stdout`` or ``stderr``.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def write(self, text: str) -> int:
        """Write the text, or lose it."""
        with contextlib.suppress(ValueError):  # the stream is closed
            try:
                self._target.write(text)
            except OSError as error:
                self._lose(error)
        return len(text)

    def flush(self) -> None:
        """Flush the stream, or lose what it holds."""
        with contextlib.suppress(ValueError):
            try:
                self._target.flush()
            except OSError as error:
                self._lose(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    @property
    def _target(self) -> Any:
        return getattr(sys, self._name)

    def _lose(self, error: OSError) -> None:
        """Let a stream whose reader has gone lead nowhere from now on. A full disk may have space again later."""
        if error.errno != errno.EPIPE:
            return
        with contextlib.suppress(OSError), open(os.devnull, "wb") as nothing:  # noqa: PTH123
            os.dup2(nothing.fileno(), self._target.fileno())
