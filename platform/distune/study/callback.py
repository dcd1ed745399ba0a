"""What a study tells the person who watches it, such as the live table on the command line."""

from __future__ import annotations

import enum
from typing import Protocol

from distune.records import EpochReport, TrialRecord, TrialSpec


class Decision(enum.StrEnum):
    """What becomes of a trial after an epoch."""

    CONTINUE = "continue"
    STOP = "stop"  # for whatever reason: its budget is done, it is not among the best, or it has diverged


class StudyCallback(Protocol):
    """Hears of everything that happens, in the order in which it happens."""

    def trial_started(self, spec: TrialSpec) -> None:
        """A trial begins or goes on."""
        ...

    def epoch_done(self, spec: TrialSpec, report: EpochReport, decision: Decision) -> None:
        """An epoch is on record."""
        ...

    def trial_ended(self, record: TrialRecord) -> None:
        """A trial ended, or was interrupted."""
        ...

    def message(self, text: str) -> None:
        """Something that a person should know."""
        ...


class NullCallback:
    """Hears nothing."""

    def trial_started(self, spec: TrialSpec) -> None:
        """Nothing."""

    def epoch_done(self, spec: TrialSpec, report: EpochReport, decision: Decision) -> None:
        """Nothing."""

    def trial_ended(self, record: TrialRecord) -> None:
        """Nothing."""

    def message(self, text: str) -> None:
        """Nothing."""
