"""A tracker that appends events to the study's spool; a thread sends them, so that the study never waits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from distune.records import EpochReport, ParameterValue, TrialRecord, TrialSpec
from distune.tracking.events import (
    EpochLogged,
    Event,
    FileLogged,
    StudyDescribed,
    StudyEnded,
    StudyLogged,
    StudyStarted,
    TrialEnded,
    TrialLogged,
    TrialReplaced,
    TrialStarted,
    ViewLogged,
    now_ms,
)
from distune.tracking.run_names import with_short_names
from distune.tracking.sink import Sink
from distune.tracking.spool import Spool
from distune.tracking.spool_sender import RetryPolicy, SpoolSender
from distune.tracking.study_view import StudyView

_LOG = logging.getLogger(__name__)


class SpoolTracker:
    """See ``Tracker``. A later tracker on the same folder sends first, and in order, the events left in the spool.

    Args:
        study_folder: holds ``spool.jsonl`` and ``spool.offset``; one tracker at a time.
        make_sink: opens the sink; called in the sending thread, so it may be slow and may raise.
        policy: waits and attempts of the sending thread; None for the defaults.

    Raises:
        OSError: the spool cannot be opened.
    """

    def __init__(self, study_folder: Path, *, make_sink: Callable[[], Sink], policy: RetryPolicy | None = None) -> None:
        self._folder = study_folder.absolute()
        self._spool = Spool(study_folder)
        self._sender = SpoolSender(self._spool, make_sink, policy or RetryPolicy())
        self._is_closed = False
        self._names: dict[str, str] = {}

    def start_study(self, params: Mapping[str, ParameterValue], tags: Mapping[str, str]) -> None:
        """See ``Tracker.start_study``."""
        self._record(lambda: StudyStarted(at_ms=now_ms(), params=dict(params), tags=dict(tags)))

    def start_trial(self, spec: TrialSpec) -> None:
        """See ``Tracker.start_trial``."""
        self._record(lambda: TrialStarted.from_spec(spec, now_ms(), self._names))

    def replace_trial(self, key: str) -> None:
        """See ``Tracker.replace_trial``."""
        self._record(lambda: TrialReplaced(at_ms=now_ms(), key=key))

    def log_epoch(self, key: str, report: EpochReport) -> None:
        """See ``Tracker.log_epoch``."""
        self._record(lambda: EpochLogged(key=key, report=report))

    def log_file(self, key: str | None, path: Path, folder: str) -> None:
        """See ``Tracker.log_file``."""
        place = path.absolute()
        if place.is_relative_to(self._folder):  # a study may be moved before the event is sent
            place = place.relative_to(self._folder)
        self._record(lambda: FileLogged(at_ms=now_ms(), key=key, path=str(place), folder=folder))

    def end_trial(self, record: TrialRecord) -> None:
        """See ``Tracker.end_trial``."""
        self._record(lambda: TrialEnded(at_ms=now_ms(), record=record))

    def log_trial(self, record: TrialRecord, metrics: Mapping[str, float]) -> None:
        """See ``Tracker.log_trial``."""
        self._record(
            lambda: TrialLogged(
                at_ms=now_ms(),
                key=record.key,
                step=record.epochs,
                metrics=dict(metrics),
                params=with_short_names(record.params, self._names),
            )
        )

    def log_view(self, view: StudyView) -> None:
        """See ``Tracker.log_view``."""
        self._names = dict(view.names)
        self._record(lambda: ViewLogged(at_ms=now_ms(), view=view))

    def describe(self, headline: str, note: str) -> None:
        """See ``Tracker.describe``."""
        self._record(lambda: StudyDescribed(at_ms=now_ms(), headline=headline, note=note))

    def log_study(self, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """See ``Tracker.log_study``."""
        self._record(lambda: StudyLogged(at_ms=now_ms(), metrics=dict(metrics), tags=dict(tags)))

    def end_study(self, state: str) -> None:
        """See ``Tracker.end_study``."""
        self._record(lambda: StudyEnded(at_ms=now_ms(), state=state))

    def blocking_error(self) -> str | None:
        """See ``Tracker.blocking_error``. None while a server is unavailable: the spool holds what it lacks."""
        return self._spool.blocking_error()

    def close(self, timeout_s: float = 60.0) -> None:
        """See ``Tracker.close``. If the server is known to be unavailable, try once more and do not wait."""
        if self._is_closed:
            return
        self._is_closed = True
        self._sender.close(timeout_s)
        self._spool.close()

    def _record(self, make_event: Callable[[], Event]) -> None:
        try:
            self._spool.append(make_event())
            self._sender.wake()
        except Exception:
            _LOG.exception("an event of the study could not be recorded")
