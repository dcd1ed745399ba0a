"""Temporary folders of a session: locked as long as it lives, and removed later if it was killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

LOCK = "session.lock"
_YOUNG_S = 60.0
"""A folder that is younger may not be locked yet."""


@contextlib.contextmanager
def session_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Make a folder for a session that only this user can enter, and remove it at the end.

    Args:
        parent: the folder to make it in. What killed sessions left there is removed.
        prefix: of its name.

    Yields:
        The folder.
    """
    remove_abandoned(parent.glob(f"{prefix}*"))
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        with FileLock(folder / LOCK):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(folders: Iterable[Path]) -> None:
    """Remove folders of killed sessions: those of this user whose lock no process holds. Errors are ignored.

    Args:
        folders: of sessions, each with a file ``session.lock``.
    """
    for folder in folders:
        with contextlib.suppress(OSError, Timeout):
            found = folder.lstat()
            is_young = time.time() - max(found.st_mtime, found.st_ctime) < _YOUNG_S
            if folder.is_symlink() or not folder.is_dir() or found.st_uid != os.getuid() or is_young:
                continue
            with FileLock(folder / LOCK, timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
