"""Sends all records of a study to its tracking server again: those that it lost, and those that it refused."""

from __future__ import annotations

import contextlib
from pathlib import Path

from distune.bounded_read import read_bounded
from distune.tracking.spool import OFFSET_FILE, REFUSED_FILE, SPOOL_FILE, read_offset

_LOSS_FILE = "spool.lost"


def num_refused(folder: Path) -> int:
    """Return the number of events that the tracking server refused."""
    try:
        return read_bounded(folder / REFUSED_FILE).count(b"\n")
    except OSError:
        return 0


def sent_bytes(folder: Path) -> int:
    """Return how much of the spool of a study was sent."""
    return read_offset(folder / OFFSET_FILE)


def unsent_bytes(folder: Path) -> int:
    """Return how much of the spool of a study was not sent yet."""
    file = folder / SPOOL_FILE
    return max(0, file.stat().st_size - sent_bytes(folder)) if file.is_file() else 0


def note_loss(folder: Path) -> None:
    """Note that the store has lost the runs of a study, before a session creates some of them again."""
    with contextlib.suppress(OSError):
        (folder / _LOSS_FILE).touch()


def has_loss(folder: Path) -> bool:
    """Return whether the store has lost runs of a study, and they were not sent again yet."""
    return (folder / _LOSS_FILE).exists()


def send_again(folder: Path) -> None:
    """Let the next tracker of a study send everything again. Values that the server has are stored once.

    The file of refused events is removed: its events are in the spool as well, and what is refused again is kept again.
    """
    (folder / OFFSET_FILE).unlink(missing_ok=True)
    for name in (REFUSED_FILE, _LOSS_FILE):
        (folder / name).unlink(missing_ok=True)
