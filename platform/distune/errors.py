"""Exceptions of distune, with their exit status on the command line."""

from __future__ import annotations

import errno

DISK_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE})
"""``errno`` of a disk that is full, read-only or broken."""


MAX_PROBLEMS_SHOWN = 20
"""Problems of one file that a message shows; the rest is counted."""


class DistuneError(Exception):
    """Base class of distune's exceptions. The message is for the user."""

    exit_status = 1


class UsageError(DistuneError):
    """Invalid request, such as an invalid file or option, or a name in use. Nothing was written."""

    exit_status = 2


class ConfigError(UsageError):
    """Invalid experiment or search space. The message lists the problems of the file, the first 20 of many.

    Args:
        source: the file, or another name for the source of the settings.
        problems: one line each.
        other: problems of a second file, which are listed below.
    """

    def __init__(self, source: str, problems: list[str], *, other: ConfigError | None = None) -> None:
        if other is not None and other.source == source:
            problems, other = [*problems, *other.problems], None
        self.source: str = source
        self.problems: list[str] = problems if other is None else [*problems, *other.problems]
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        shown = [f"  {problem}" for problem in problems[:MAX_PROBLEMS_SHOWN]]
        shown += [f"  and {len(problems) - len(shown)} more"] if len(problems) > len(shown) else []
        blocks = ["\n".join([f"{source}: {count}", *shown])]
        super().__init__("\n".join(blocks if other is None else [*blocks, str(other)]))


class DataError(UsageError):
    """Images or annotations that are missing or damaged."""


class WeightsError(UsageError):
    """File of weights that does not match its detector."""


class TeacherFileError(WeightsError):
    """Damaged or missing file of a teacher that was prepared before. No trial is the cause."""


class StudyError(UsageError):
    """Study that exists already, is missing, or is not in the state that a command needs."""


class ResourceError(UsageError):
    """Device, amount of resources or package that this machine or cluster does not have."""


class TrialError(DistuneError):
    """Trial that could not continue. The study continues without it."""


class WorkerLostError(TrialError):
    """Process of a trial that has ended before its work was done."""


class ExportError(DistuneError):
    """Detector that cannot be exported in a format, or whose exported file gives other detections."""
