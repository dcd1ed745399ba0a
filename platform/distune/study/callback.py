"""Callbacks of a study: the events that a progress display, a logger or a notebook can react to."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Protocol

from distune.records import EpochReport, TrialRecord, TrialSpec


class Decision(enum.StrEnum):
    """The decision about a trial after an epoch."""

    CONTINUE = "continue"
    STOP = "stop"  # all epochs are done, the scheduler stopped the trial, or it diverged


class StudyCallback(Protocol):
    """Receives the events of a study, in order, from the process that runs the session.

    To handle some of them only, subclass ``Callback``.
    """

    def on_session_start(self, num_trials: int) -> None:
        """Handle the start of a session that runs this many trials, controls included."""
        ...

    def on_trial_start(self, spec: TrialSpec) -> None:
        """Handle a trial that starts or resumes."""
        ...

    def on_epoch_end(self, spec: TrialSpec, report: EpochReport, decision: Decision) -> None:
        """Handle an epoch after it was recorded."""
        ...

    def on_trial_end(self, record: TrialRecord) -> None:
        """Handle a trial that ended or was interrupted."""
        ...

    def on_message(self, text: str) -> None:
        """Handle a message for the user. Unlike the other events it may come from another thread."""
        ...


class Callback:
    """A callback that does nothing. Subclass it, and override the events to handle.

    Example:
        >>> class PrintEnds(distune.Callback):
        ...     def on_trial_end(self, record):
        ...         print(record.key, record.outcome)
        >>> distune.launch("quickstart", simulate=True, callbacks=[PrintEnds()])
    """

    def on_session_start(self, num_trials: int) -> None:
        """See ``StudyCallback``."""

    def on_trial_start(self, spec: TrialSpec) -> None:
        """See ``StudyCallback``."""

    def on_epoch_end(self, spec: TrialSpec, report: EpochReport, decision: Decision) -> None:
        """See ``StudyCallback``."""

    def on_trial_end(self, record: TrialRecord) -> None:
        """See ``StudyCallback``."""

    def on_message(self, text: str) -> None:
        """See ``StudyCallback``."""


class CallbackList:
    """A callback that forwards each event to several callbacks, in their order. Without any it does nothing.

    Args:
        callbacks: receive the events.
    """

    def __init__(self, callbacks: Sequence[StudyCallback] = ()) -> None:
        self._callbacks = tuple(callbacks)

    def on_session_start(self, num_trials: int) -> None:
        """See ``StudyCallback``."""
        for callback in self._callbacks:
            callback.on_session_start(num_trials)

    def on_trial_start(self, spec: TrialSpec) -> None:
        """See ``StudyCallback``."""
        for callback in self._callbacks:
            callback.on_trial_start(spec)

    def on_epoch_end(self, spec: TrialSpec, report: EpochReport, decision: Decision) -> None:
        """See ``StudyCallback``."""
        for callback in self._callbacks:
            callback.on_epoch_end(spec, report, decision)

    def on_trial_end(self, record: TrialRecord) -> None:
        """See ``StudyCallback``."""
        for callback in self._callbacks:
            callback.on_trial_end(record)

    def on_message(self, text: str) -> None:
        """See ``StudyCallback``."""
        for callback in self._callbacks:
            callback.on_message(text)
