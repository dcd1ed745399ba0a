"""The seam between runners and trials: one epoch at a time. Implemented by ``SoloRun`` and by the simulation."""

from __future__ import annotations

from typing import Protocol

from distune.records import EpochReport


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
