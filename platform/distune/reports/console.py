"""The only place that makes a console: text of users, such as names of classes, is never markup or an emoji code."""

from __future__ import annotations

from rich.console import Console


def make_console(*, stderr: bool = False, width: int | None = None) -> Console:
    """Return a console that prints text as it is, without wrapping or coloring of numbers.

    Args:
        stderr: print to standard error instead of standard output.
        width: in columns; None is that of the terminal.

    Returns:
        The console.
    """
    return Console(stderr=stderr, width=width, soft_wrap=True, highlight=False, markup=False, emoji=False)
