"""Says why a trial failed, in a line, and notices when all trials fail for the same reason."""

from __future__ import annotations

import re
from collections.abc import Iterator

from distune.errors import DataError, DistuneError, TrialError

MAX_SAME_FAILURES = 10
"""So many failures in a row with the same reason end a study."""

_MEMORY_PHRASES = ("out of memory", "can't allocate memory", "cannot allocate memory")


class StudyFailedError(DistuneError):
    """A study has ended itself, because all its trials fail."""


def describe_failure(error: BaseException) -> str:
    """The reason of a failure: what kind it is, then the error's own words, on one line.

    The kinds are ``out of memory``, ``data`` and ``bug``. An error that says on purpose why the trial cannot go on
    (``TrialError``) speaks for itself.
    """
    chain = list(_chain(error))
    words = " ".join(str(error).split()) or "no message"
    if any(_is_memory(link) for link in chain):
        return f"out of memory: {words}"
    if any(isinstance(link, DataError) for link in chain):
        return f"data: {words}"
    if isinstance(error, TrialError):
        return words
    return f"bug: {type(error).__name__}: {words}"


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


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__


def _is_memory(error: BaseException) -> bool:
    # torch.OutOfMemoryError is known by its name: reading an error should not import torch.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError | OSError) and any(words in str(error).lower() for words in _MEMORY_PHRASES)
