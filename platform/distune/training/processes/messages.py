"""The messages between a trial and the processes that train it: the job, and what has failed."""

from __future__ import annotations

import copy
import dataclasses
import traceback
from multiprocessing.reduction import ForkingPickler
from typing import Literal

from distune.errors import TrialError
from distune.records import TrialSpec

Command = Literal["epoch", "close"]
_MARK = "is_of_another_process"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """The work of one process.

    Attributes:
        spec: of the trial.
        stream_epochs: see ``SoloRun``.
        number: of the process, from 0; the first one writes the trial's files.
        num_processes: processes of the trial.
        store: file through which the processes find each other, in a folder that only this user can read.
    """

    spec: TrialSpec
    stream_epochs: tuple[int, ...]
    number: int
    num_processes: int
    store: str


@dataclasses.dataclass(frozen=True)
class Opened:
    """The trial is open in a process.

    Attributes:
        epochs_done: number of epochs trained so far.
        notes: messages for the user.
    """

    epochs_done: int
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Failure:
    """An error in a process, with its causes, from which follows whether the trial is tried again.

    Attributes:
        chain: the error, its cause, and so on. The first one has the traceback as a note.
    """

    chain: tuple[Exception, ...]

    @classmethod
    def of(cls, error: Exception, *, process: int) -> Failure:
        """Make it of an error in a process of that number. Errors that cannot be sent become ``TrialError``."""
        text = "".join(traceback.format_exception(error))
        chain: list[Exception] = []
        link: BaseException | None = error
        while isinstance(link, Exception):
            chain.append(_sendable(link))
            link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
        chain[0].add_note(f"In process {process} of the trial:\n{text}")
        return cls(tuple(chain))

    def error(self) -> Exception:
        """Return the error with its causes."""
        for error, cause in zip(self.chain, self.chain[1:], strict=False):
            error.__cause__ = cause
        setattr(self.chain[0], _MARK, True)
        return self.chain[0]


def is_of_another_process(error: BaseException) -> bool:
    """Return whether an error is that of a ``Failure``, which leaves this process as it was."""
    return bool(getattr(error, _MARK, False))


def _sendable(error: Exception) -> Exception:
    try:
        ForkingPickler.dumps(error)  # as a connection sends it
        copy.copy(error)  # made as the receiver makes it, which a constructor with other arguments prevents
    except Exception:
        return TrialError(f"{type(error).__name__}: {error}")
    return error
