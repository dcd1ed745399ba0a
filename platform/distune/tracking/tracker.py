"""What a study tells its tracker. No method raises or waits for a server: a study never ends for its tracking."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from distune.records import EpochReport, ParameterValue, TrialRecord, TrialSpec


class Tracker(Protocol):
    """Records a study as a parent run with one child run per trial.

    Saying the same thing twice records it once: a resumed study starts its study and its running trials again.
    """

    def start_study(self, params: Mapping[str, ParameterValue], tags: Mapping[str, str]) -> None:
        """The study begins or goes on. ``params`` are its main settings."""
        ...

    def start_trial(self, spec: TrialSpec) -> None:
        """A trial begins or goes on."""
        ...

    def log_epoch(self, key: str, report: EpochReport) -> None:
        """The metrics of an epoch; the epoch is the step."""
        ...

    def log_file(self, key: str | None, path: Path, folder: str) -> None:
        """A file that belongs to a trial, or to the study when ``key`` is None, under ``folder`` of its artifacts.

        The file must stay where it is until it was sent, which may be in a later session; one that is gone by then is
        reported and skipped.
        """
        ...

    def end_trial(self, record: TrialRecord) -> None:
        """A trial ended, or was interrupted."""
        ...

    def log_study(self, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Figures of the study as a whole, such as the best AP and its gain."""
        ...

    def end_study(self, state: str) -> None:
        """The session is over: ``finished``, ``interrupted`` or ``failed``."""
        ...

    def blocking_error(self) -> str | None:
        """Why a part of what was told could be lost, such as a full disk; None when all outlasts a power failure."""
        ...

    def close(self) -> None:
        """Send what is left, for a bounded time. What could not be sent is kept and sent by the next session."""
        ...


class NullTracker:
    """Records nothing: for ``tracking.enabled: false`` and for tests."""

    def start_study(self, params: Mapping[str, ParameterValue], tags: Mapping[str, str]) -> None:
        """Nothing."""

    def start_trial(self, spec: TrialSpec) -> None:
        """Nothing."""

    def log_epoch(self, key: str, report: EpochReport) -> None:
        """Nothing."""

    def log_file(self, key: str | None, path: Path, folder: str) -> None:
        """Nothing."""

    def end_trial(self, record: TrialRecord) -> None:
        """Nothing."""

    def log_study(self, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Nothing."""

    def end_study(self, state: str) -> None:
        """Nothing."""

    def blocking_error(self) -> str | None:
        """None."""
        return None

    def close(self) -> None:
        """Nothing."""
