"""Reads files of a data set that may be anything: named pipes are not opened, and names may be too long."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any


def read_regular(path: Path) -> bytes:
    """Return the content of a file.

    Args:
        path: the file.

    Returns:
        Its bytes.

    Raises:
        OSError: it cannot be read, or is no regular file: opening a named pipe would wait for ever.
        ValueError: its name has a zero byte.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("it is not a regular file")
    return path.read_bytes()


def read_json(path: Path) -> Any:
    """Return the values of a JSON file.

    Args:
        path: the file.

    Returns:
        Plain data.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not JSON, or its lists go too deep.
    """
    try:
        return json.loads(read_regular(path))
    except RecursionError:
        raise ValueError("its lists and mappings go too deep") from None


def is_folder(path: Path) -> bool:
    """Return whether there is a folder of this name; false also for names that no folder can have."""
    return os.path.isdir(path)  # noqa: PTH112 - as in is_file


def is_file(path: Path) -> bool:
    """Return whether there is a regular file of this name; false also for names that no file can have."""
    return os.path.isfile(path)  # noqa: PTH113 - the method of Path raises for names of over 255 bytes
