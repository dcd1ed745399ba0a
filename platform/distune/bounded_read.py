"""Reads a file of a study that may be anything by now: nothing is waited for, and nothing is read without an end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

MAX_BYTES = 2**30
"""More than any file of a study that is read at once has."""


def read_bounded(path: Path) -> bytes:
    """Return the content of a file.

    Args:
        path: the file.

    Returns:
        Its bytes.

    Raises:
        OSError: it cannot be read, is larger than ``MAX_BYTES``, or is no regular file: opening a named pipe would wait
            for ever.
    """
    check_bounded(path)
    return path.read_bytes()


def check_bounded(path: Path) -> None:
    """Raise the ``OSError`` of ``read_bounded`` without reading the file."""
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    if found.st_size > MAX_BYTES:
        raise OSError(errno.EFBIG, f"it is larger than {MAX_BYTES // 2**20} MiB", str(path))
