"""The exceptions that distune raises on purpose: one tree, with the exit status that the command line gives each."""

from __future__ import annotations

import errno

DISK_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE})
"""``errno`` of a disk that is full, read-only or broken."""


class DistuneError(Exception):
    """Base of everything that distune raises on purpose. The message is meant for the person at the terminal."""

    exit_status = 1


class UsageError(DistuneError):
    """What was asked for cannot be done as asked: a bad file, a bad option, a name in use. Nothing was written."""

    exit_status = 2


class ConfigError(UsageError):
    """An experiment or a search space is wrong. Lists every problem of the file, not only the first.

    Args:
        source: the file, or a word for where the settings came from.
        problems: one line each.
    """

    def __init__(self, source: str, problems: list[str]) -> None:
        self.source = source
        self.problems = problems
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__("\n".join([f"{source}: {count}", *(f"  {problem}" for problem in problems)]))


class DataError(UsageError):
    """Images or annotations are missing or too damaged to use."""


class WeightsError(UsageError):
    """A file of weights does not fit the detector it is meant for."""


class StudyError(UsageError):
    """A study of that name is in use, is missing, or is not in the state that the command needs."""


class ResourceError(UsageError):
    """A device or an amount of it was asked for that this machine or cluster does not have."""


class TrialError(DistuneError):
    """A trial could not go on. The study goes on without it."""
