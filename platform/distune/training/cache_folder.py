"""Folders of files that belong to one process, and are removed when it has ended."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path

from filelock import FileLock, Timeout

_PREFIX = ".distune-maps-"
_LOCK_FILE = "in-use.lock"


class CacheFolder:
    """A new folder of this process, locked while it is in use.

    Args:
        parent: created if it is missing. Folders in it whose process was killed are removed.

    Attributes:
        path: of the folder.

    Raises:
        OSError: the folder cannot be made.
    """

    def __init__(self, parent: Path) -> None:
        parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(parent)
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        self._lock = FileLock(self.path / _LOCK_FILE)
        self._lock.acquire()

    def remove(self) -> None:
        """Remove the folder and its files."""
        self._lock.release()
        shutil.rmtree(self.path, ignore_errors=True)


def remove_abandoned(parent: Path) -> None:
    """Remove the folders of processes that have ended. Ignores errors, and folders of another origin."""
    for lock in parent.glob(f"{_PREFIX}*/{_LOCK_FILE}"):
        with contextlib.suppress(OSError, Timeout), FileLock(lock, timeout=0):
            shutil.rmtree(lock.parent, ignore_errors=True)
