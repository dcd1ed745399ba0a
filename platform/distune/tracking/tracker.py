"""The interface between a study and its tracker. No method raises or waits: tracking never ends a study."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from distune.records import EpochReport, ParameterValue, TrialRecord, TrialSpec
from distune.tracking.study_view import StudyView


class Tracker(Protocol):
    """Records a study as a parent run with one child run per trial.

    Calls may be repeated: a resumed study starts its study and its running trials again, and each value is stored once.
    """

    def start_study(self, params: Mapping[str, ParameterValue], tags: Mapping[str, str]) -> None:
        """Start or resume the study. ``params`` are its main settings."""
        ...

    def start_trial(self, spec: TrialSpec) -> None:
        """Start or resume a trial."""
        ...

    def replace_trial(self, key: str) -> None:
        """Set a former training of the trial ``key`` aside, if there is one: the trial is trained anew."""
        ...

    def log_epoch(self, key: str, report: EpochReport) -> None:
        """Log the metrics of an epoch of the trial ``key``; the epoch is the step."""
        ...

    def log_file(self, key: str | None, path: Path, folder: str) -> None:
        """Log a file of a trial, or of the study when ``key`` is None, under ``folder`` of its artifacts.

        The file must stay in place until it is sent, which may be in a later session. A missing file is logged as a
        warning and skipped.
        """
        ...

    def end_trial(self, record: TrialRecord) -> None:
        """End a trial that finished, was stopped, failed or was interrupted."""
        ...

    def log_trial(self, record: TrialRecord, metrics: Mapping[str, float]) -> None:
        """Log figures of a trial that has ended, such as its gain. They replace those that were logged before."""
        ...

    def log_view(self, view: StudyView) -> None:
        """Log how the UI shows the study: columns, order and charts. Trials that start later get its short names."""
        ...

    def describe(self, headline: str, note: str) -> None:
        """Log the result of the study in a sentence, and its description in Markdown. A note edited by users stays."""
        ...

    def log_study(self, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Log metrics and tags of the study as a whole, such as the gain of the best trial."""
        ...

    def end_study(self, state: str) -> None:
        """End the session: ``finished``, ``interrupted`` or ``failed``."""
        ...

    def blocking_error(self) -> str | None:
        """Return why recorded events could be lost, such as a full disk; None when they survive a power failure."""
        ...

    def close(self) -> None:
        """Send the remaining events, for a limited time. The next session sends the rest."""
        ...


class NullTracker:
    """Records nothing: for ``tracking.enabled: false`` and for tests."""

    def start_study(self, params: Mapping[str, ParameterValue], tags: Mapping[str, str]) -> None:
        """Do nothing."""

    def start_trial(self, spec: TrialSpec) -> None:
        """Do nothing."""

    def replace_trial(self, key: str) -> None:
        """Do nothing."""

    def log_epoch(self, key: str, report: EpochReport) -> None:
        """Do nothing."""

    def log_file(self, key: str | None, path: Path, folder: str) -> None:
        """Do nothing."""

    def end_trial(self, record: TrialRecord) -> None:
        """Do nothing."""

    def log_trial(self, record: TrialRecord, metrics: Mapping[str, float]) -> None:
        """Do nothing."""

    def log_view(self, view: StudyView) -> None:
        """Do nothing."""

    def describe(self, headline: str, note: str) -> None:
        """Do nothing."""

    def log_study(self, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Do nothing."""

    def end_study(self, state: str) -> None:
        """Do nothing."""

    def blocking_error(self) -> str | None:
        """Return None."""
        return None

    def close(self) -> None:
        """Do nothing."""
