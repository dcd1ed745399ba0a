"""Atomic writes: a reader sees the old file or the new one, never a part, also after a crash."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def open_atomically(path: Path, *, is_private: bool = False, is_durable: bool = True) -> Iterator[BinaryIO]:
    """Open a file for writing that replaces ``path`` when the block ends without an error.

    Args:
        path: of the file; its folder must exist.
        is_private: readable by this user only.
        is_durable: force the content to the disk before the replacement. Without it, a crash of the machine may leave
            an empty file.

    Yields:
        A binary file under a temporary name beside ``path``.

    Raises:
        OSError: the file could not be written; the old content is unchanged.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.touch(mode=0o600 if is_private else 0o666)
        with temporary.open("wb") as file:
            yield file
            if is_durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, content: bytes, *, is_private: bool = False) -> None:
    """Replace the content of a file, and make its folder if needed; see ``open_atomically``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_atomically(path, is_private=is_private) as file:
        file.write(content)
