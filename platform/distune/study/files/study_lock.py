"""The lock of a study. Only one session at a time works on a study."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from distune.errors import StudyError

_TIMEOUT_S = 2.0
"""Time that a session waits for its lock, because `distune status` holds it for a moment."""
_REMEDIES = {
    errno.EACCES: "make the study's folder writable",
    errno.EPERM: "make the study's folder writable",
    errno.EROFS: "make the study's folder writable",
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
}


@contextlib.contextmanager
def hold_lock(file: Path, study: str) -> Iterator[None]:
    """Hold the lock of a study.

    Args:
        file: is locked; created when it is missing.
        study: its name.

    Yields:
        Nothing.

    Raises:
        StudyError: another session holds the lock, or the file cannot be locked.
    """
    lock = FileLock(file, timeout=_TIMEOUT_S)
    try:
        lock.acquire()
    except Timeout:
        raise StudyError(f"study {study} is running in another process; wait for it or stop it") from None
    except (OSError, NotImplementedError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        remedy = _REMEDIES.get(
            getattr(error, "errno", None) or 0, "keep the studies on a disk that supports file locks"
        )
        raise StudyError(f"study {study}: {file} cannot be locked: {reason}; {remedy}") from None
    try:
        yield
    finally:
        lock.release()


def is_lock_held(file: Path) -> bool:
    """Return whether a session holds the lock. Needs no permission to write, and writes nothing.

    A file that cannot be opened or locked is held by no session.
    """
    try:
        number = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(number, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES)
    finally:
        os.close(number)
    return False
