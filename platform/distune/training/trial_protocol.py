"""The seam between whoever runs trials and whatever a trial does: one epoch at a time."""

from __future__ import annotations

from typing import Protocol

from distune.records import EpochReport


class TrialWork(Protocol):
    """One trial in progress. Opening it on a folder that holds a checkpoint continues after its last epoch.

    Attributes:
        epochs_done: how many epochs are behind it, 0 at the start.
        notes: what a person should know about how it was opened, such as that a checkpoint was damaged.
    """

    epochs_done: int
    notes: tuple[str, ...]

    def run_epoch(self) -> EpochReport:
        """Train one epoch and evaluate. The checkpoint and the line in the trial's metrics are on disk on return.

        Raises:
            TrialError: the trial cannot go on, such as for lack of memory.
        """
        ...

    def close(self) -> None:
        """Give back memory and files. Nothing else may be called afterwards."""
        ...
