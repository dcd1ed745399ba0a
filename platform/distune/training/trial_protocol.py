"""The seam between runners and trials: one epoch at a time, for one trial or for several side by side.

Implemented by ``SoloRun`` and ``TrialCohort``, and by the simulation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Protocol

from distune.records import EpochReport, TrialSpec


class TrialRun(Protocol):
    """One trial in progress. Opened on a folder with a checkpoint, it resumes after the checkpoint's epoch."""

    @property
    def epochs_done(self) -> int:
        """Number of epochs trained so far."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Messages for the user, such as that a checkpoint was damaged."""
        ...

    def run_epoch(self) -> EpochReport:
        """Train one epoch and evaluate.

        Returns:
            The report. Its checkpoint and its line in the metrics are on disk.

        Raises:
            TrialError: the trial cannot continue, such as for lack of memory.
        """
        ...

    def close(self) -> None:
        """Release memory and files. No other method may be called afterwards."""
        ...


@dataclasses.dataclass(frozen=True)
class OpenedTrial:
    """A trial that was opened: epochs that it has done, and messages for the user about its checkpoints."""

    epochs_done: int
    notes: tuple[str, ...] = ()


class TrialHost(Protocol):
    """Trials of one process, trained side by side. They join and leave between epochs."""

    def open(self, spec: TrialSpec) -> OpenedTrial:
        """Open a trial that is not open. Raises what makes it impossible."""
        ...

    def run_epoch(self) -> Mapping[str, EpochReport | Exception]:
        """Train and evaluate the open trials for one epoch.

        Returns:
            Key to the report, which is on disk with its checkpoint; or to the error, after which the trial is closed.
            Trials that wait for others have no entry.

        Raises:
            Exception: an error in what the trials share, such as the data.
        """
        ...

    def leave(self, key: str) -> None:
        """Close a trial. Ignore one that is not open."""
        ...

    def close(self) -> None:
        """Release memory and files. No other method may be called afterwards."""
        ...
