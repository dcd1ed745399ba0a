"""A tracker that writes events to the study's spool, and a thread that ships them. The study waits for neither."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from distune.records import EpochReport, ParameterValue, TrialRecord, TrialSpec
from distune.tracking.events import (
    Event,
    FileLogged,
    StudyEnded,
    StudyLogged,
    StudyStarted,
    epoch_logged,
    now_ms,
    trial_ended,
    trial_started,
)
from distune.tracking.shipping import Shipper, ShippingPolicy
from distune.tracking.sink import Sink
from distune.tracking.spool import Spool

_LOG = logging.getLogger(__name__)


class SpoolTracker:
    """See ``Tracker``. A later tracker on the same folder sends what this one left over, first and in order.

    Args:
        study_folder: where ``spool.jsonl`` and ``spool.offset`` are kept; one tracker at a time.
        make_sink: opens the sink; called in the shipping thread, so it may be slow and may raise.
        policy: how patient the shipping thread is.

    Raises:
        OSError: the spool cannot be opened.
    """

    def __init__(
        self, study_folder: Path, *, make_sink: Callable[[], Sink], policy: ShippingPolicy | None = None
    ) -> None:
        self._spool = Spool(study_folder)
        self._shipper = Shipper(self._spool, make_sink, policy or ShippingPolicy())
        self._is_closed = False

    def start_study(self, params: Mapping[str, ParameterValue], tags: Mapping[str, str]) -> None:
        """See ``Tracker.start_study``."""
        self._record(lambda: StudyStarted(at_ms=now_ms(), params=dict(params), tags=dict(tags)))

    def start_trial(self, spec: TrialSpec) -> None:
        """See ``Tracker.start_trial``."""
        self._record(lambda: trial_started(spec, now_ms()))

    def log_epoch(self, key: str, report: EpochReport) -> None:
        """See ``Tracker.log_epoch``."""
        self._record(lambda: epoch_logged(key, report))

    def log_file(self, key: str | None, path: Path, folder: str) -> None:
        """See ``Tracker.log_file``."""
        self._record(lambda: FileLogged(at_ms=now_ms(), key=key, path=str(path.absolute()), folder=folder))

    def end_trial(self, record: TrialRecord) -> None:
        """See ``Tracker.end_trial``."""
        self._record(lambda: trial_ended(record, now_ms()))

    def log_study(self, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """See ``Tracker.log_study``."""
        self._record(lambda: StudyLogged(at_ms=now_ms(), metrics=dict(metrics), tags=dict(tags)))

    def end_study(self, state: str) -> None:
        """See ``Tracker.end_study``."""
        self._record(lambda: StudyEnded(at_ms=now_ms(), state=state))

    def blocking_error(self) -> str | None:
        """See ``Tracker.blocking_error``. A server that is away is none: what it lacks is in the spool."""
        return self._spool.blocking_error()

    def close(self, timeout_s: float = 60.0) -> None:
        """See ``Tracker.close``. With a server that is known to be away it asks once more and does not wait."""
        if self._is_closed:
            return
        self._is_closed = True
        self._shipper.close(timeout_s)
        self._spool.close()

    def _record(self, make_event: Callable[[], Event]) -> None:
        try:
            self._spool.append(make_event())
            self._shipper.wake()
        except Exception:
            _LOG.exception("an event of the study could not be recorded")
