"""Says why a trial failed, in a line, and notices when all trials fail for the same reason."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Iterator

from distune.errors import DataError, DistuneError, TrialError
from distune.tracking.uris import redact_uri

MAX_SAME_FAILURES = 10
"""So many failures in a row with the same reason end a study."""

OUT_OF_MEMORY, DATA, STORAGE, BUSY = "out of memory", "data", "storage", "busy"
WORKER_DIED, BUG = "worker died", "bug"

BLOCKING_KINDS = (STORAGE, BUSY)
"""Kinds of which no trial is to blame, and every trial would fail: they end the session instead."""

_MEMORY_PHRASES = ("out of memory", "can't allocate memory", "cannot allocate memory")
_LOADER_DEATH = re.compile(r"DataLoader worker .*(?:killed by signal|exited unexpectedly)", re.DOTALL)
_LOADER_MEMORY = re.compile(r"killed by signal: (?:Killed|Bus error)|out of shared memory")
"""SIGKILL to one process out of many is the kernel's answer to a lack of memory."""
_STORAGE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE}
_STORAGE_PHRASES = ("no space left on device", "read-only file system", "disk quota exceeded")


class FolderBusyError(TrialError):
    """Another process works on the folder of a trial."""


class StudyFailedError(DistuneError):
    """A study has ended itself, because all its trials fail."""


def describe_failure(error: BaseException) -> str:
    """The reason of a failure: what kind it is, then the error's own words, on one line and without secrets.

    The kinds are ``out of memory``, ``storage``, ``busy``, ``data``, ``worker died`` and ``bug``. An error that says on
    purpose why the trial cannot go on (``TrialError``) speaks for itself. Here it is a worker that reads images which
    has died; the death of a trial's own worker is said by those who saw it.
    """
    chain = list(_chain(error))
    words = redact_uri(" ".join(str(error).split())) or "no message"
    if any(_is_memory(link) for link in chain):
        return f"{OUT_OF_MEMORY}: {words}"
    if any(is_storage_trouble(link) for link in chain):
        return f"{STORAGE}: {words}"
    if isinstance(error, FolderBusyError):
        return f"{BUSY}: {words}"
    if any(_LOADER_DEATH.search(str(link)) for link in chain):
        return f"{WORKER_DIED}: {words}"
    if any(isinstance(link, DataError) for link in chain):
        return f"{DATA}: {words}"
    if isinstance(error, TrialError):
        return words
    return f"{BUG}: {type(error).__name__}: {words}"


def is_of_kind(reason: str, kind: str) -> bool:
    """Whether a reason of ``describe_failure`` is of a kind."""
    return reason.startswith(f"{kind}:")


def is_storage_trouble(error: BaseException) -> bool:
    """Whether a file could not be written or read because of the disk: full, read-only or broken.

    No trial is to blame for that, and every trial would fail of it.
    """
    if isinstance(error, OSError) and error.errno in _STORAGE_ERRORS:
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _STORAGE_PHRASES)


def spoils_process(error: BaseException) -> bool:
    """Whether the process cannot be trusted with another trial: after most CUDA errors, every later call fails too."""
    return any("CUDA error" in str(link) for link in _chain(error))


class FailureStreak:
    """Counts failures in a row. Two reasons are the same when they differ in nothing but numbers."""

    def __init__(self) -> None:
        self._pattern = ""
        self._count = 0

    def failed(self, reason: str) -> bool:
        """A trial has failed. Returns whether that is one too many."""
        pattern = re.sub(r"0x[0-9a-fA-F]+|\d+(\.\d+)?", "#", reason)
        self._count = self._count + 1 if pattern == self._pattern else 1
        self._pattern = pattern
        return self._count >= MAX_SAME_FAILURES

    def ended_well(self) -> None:
        """A trial has ended in another way."""
        self._count = 0


def streak_after(reasons: Iterable[str | None]) -> FailureStreak:
    """The streak that earlier sessions have left.

    Args:
        reasons: of the trials in the order in which they ended, None for each that did not fail.

    Returns:
        A streak that goes on over the border between two sessions. One that has ended the study already is over: who
        resumes such a study has mended something, and it gets another ``MAX_SAME_FAILURES`` trials to show that.
    """
    streak = FailureStreak()
    for reason in reasons:
        if reason is None or streak.failed(reason):
            streak.ended_well()
    return streak


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what led to it; on a full disk torch raises an error of its own while it handles the disk's."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _is_memory(error: BaseException) -> bool:
    # torch.OutOfMemoryError is known by its name: reading an error should not import torch.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if not isinstance(error, RuntimeError | OSError):
        return False
    text = str(error)
    is_loader = _LOADER_DEATH.search(text) is not None and _LOADER_MEMORY.search(text) is not None
    return is_loader or any(words in text.lower() for words in _MEMORY_PHRASES)
