"""Repair a file of lines whose last line was cut off by a crash."""

from __future__ import annotations

import io
import os
from pathlib import Path


def truncate_partial_line(path: Path) -> int:
    """Remove a last line without a line end, since the next entry would be appended to it.

    Only for the one process that writes the file: another one may be writing that line.

    Args:
        path: may be missing.

    Returns:
        The size of the file in bytes, 0 when there is none.
    """
    if not path.is_file():
        return 0
    with path.open("r+b") as file:
        size = position = file.seek(0, os.SEEK_END)
        while position > 0:
            start = max(0, position - io.DEFAULT_BUFFER_SIZE)
            file.seek(start)
            line_end = file.read(position - start).rfind(b"\n")
            if line_end >= 0:
                position = start + line_end + 1
                break
            position = start
        if position < size:
            file.truncate(position)
        return position
