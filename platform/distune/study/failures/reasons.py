"""Reasons of failures: one line per failed trial, and the count of equal failures in a row.

``StudyEngine.fail`` decides whether the trial is retried (``retries.py``) or ends as FAIL.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from distune.errors import DISK_ERRNOS, DataError, DistuneError, TeacherFileError, TrialError, WorkerLostError
from distune.tracking.uris import redact_uri
from distune.training.processes.messages import is_of_another_process

MAX_SAME_FAILURES = 10
"""A study is aborted after this many failures in a row for the same reason."""

OUT_OF_MEMORY, DATA, STORAGE, BUSY = "out of memory", "data", "storage", "busy"
TEACHER = "teacher"
WORKER_DIED, BUG = "worker died", "bug"

BLOCKING_KINDS = (STORAGE, BUSY, TEACHER)
"""Kinds that no trial causes and that would fail every trial: they end the session instead."""

_MEMORY_PHRASES = ("out of memory", "can't allocate memory", "cannot allocate memory", "_status_alloc_failed")
_LOADER_DEATH = re.compile(r"DataLoader worker .*(?:killed by signal|exited unexpectedly)", re.DOTALL)
_LOADER_MEMORY = re.compile(r"killed by signal: (?:Killed|Bus error)|out of shared memory")
"""The kernel sends SIGKILL to a process when memory runs out."""
_STORAGE_PHRASES = ("no space left on device", "read-only file system", "disk quota exceeded")


class FolderBusyError(TrialError):
    """The folder of a trial is locked by another process."""


class StudyFailedError(DistuneError):
    """A study has failed: none of its trials has finished, or too many in a row failed for the same reason."""


def describe_failure(error: BaseException) -> str:
    """Return the reason of a failure: its kind and the message of the error, on one line and without secrets.

    The kinds are ``out of memory``, ``storage``, ``teacher``, ``busy``, ``data``, ``worker died`` and ``bug``. A
    ``TrialError`` has no kind: its message is the reason. ``worker died`` stands here for a worker of the data loader,
    or one of the processes of a trial on several GPUs; the runner reports the loss of the worker of a trial.
    """
    chain = list(_chain(error))
    message = redact_uri(" ".join(str(error).split())) or "no message"
    if any(_is_memory(link) for link in chain):
        return f"{OUT_OF_MEMORY}: {message}"
    if any(is_storage_error(link) for link in chain):
        return f"{STORAGE}: {message}"
    if any(isinstance(link, TeacherFileError) for link in chain):
        return f"{TEACHER}: {message}"
    if isinstance(error, FolderBusyError):
        return f"{BUSY}: {message}"
    if any(isinstance(link, WorkerLostError) or _LOADER_DEATH.search(str(link)) for link in chain):
        return f"{WORKER_DIED}: {message}"
    if any(isinstance(link, DataError) for link in chain):
        return f"{DATA}: {message}"
    if isinstance(error, TrialError):
        return message
    return f"{BUG}: {type(error).__name__}: {message}"


def is_of_kind(reason: str, kind: str) -> bool:
    """Return whether a reason of ``describe_failure`` is of a kind."""
    return reason.startswith(f"{kind}:")


def is_storage_error(error: BaseException) -> bool:
    """Return whether a file could not be written or read because its disk is full, read-only or broken."""
    if isinstance(error, OSError) and error.errno in DISK_ERRNOS:
        return True
    return isinstance(error, RuntimeError) and any(phrase in str(error).lower() for phrase in _STORAGE_PHRASES)


def corrupts_process(error: BaseException) -> bool:
    """Return whether the process can run no other trial: after most CUDA errors, all later CUDA calls fail as well.

    Not after a lack of memory, nor if another process has raised the error.
    """
    chain = list(_chain(error))
    if is_of_another_process(error) or any(_is_memory(link) for link in chain):
        return False
    return any("CUDA error" in str(link) for link in chain)


def reason_pattern(reason: str) -> str:
    """Return a reason without its numbers: reasons that differ only in numbers are the same."""
    return re.sub(r"0x[0-9a-fA-F]+|\d+(\.\d+)?", "#", reason)


class FailureStreak:
    """Counts failures in a row for the same reason. Reasons that differ only in numbers are the same."""

    def __init__(self) -> None:
        self._pattern = ""
        self._count = 0

    def failed(self, reason: str) -> bool:
        """Count a failed trial. Return whether the study must be aborted."""
        pattern = reason_pattern(reason)
        self._count = self._count + 1 if pattern == self._pattern else 1
        self._pattern = pattern
        return self._count >= MAX_SAME_FAILURES

    def reset(self) -> None:
        """Start again from zero, because a trial ended without a failure."""
        self._count = 0


def streak_after(reasons: Iterable[str | None]) -> FailureStreak:
    """Return the streak of failures at the start of a session.

    Args:
        reasons: one for each trial in the order in which they ended, None for those that did not fail.

    Returns:
        The streak that earlier sessions left. A streak that aborted the study counts as zero: the user has resumed the
        study after a fix, and it gets another ``MAX_SAME_FAILURES`` trials.
    """
    streak = FailureStreak()
    for reason in reasons:
        if reason is None or streak.failed(reason):
            streak.reset()
    return streak


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and its causes; on a full disk, torch raises another error while it handles the ``OSError``."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _is_memory(error: BaseException) -> bool:
    # torch.OutOfMemoryError is matched by name, to avoid importing torch here.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if not isinstance(error, RuntimeError | OSError):
        return False
    text = str(error)
    is_loader = _LOADER_DEATH.search(text) is not None and _LOADER_MEMORY.search(text) is not None
    return is_loader or any(phrase in text.lower() for phrase in _MEMORY_PHRASES)
