"""The clock of a study: keeps the trials and the epochs while a session runs, and estimates the time left."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Mapping

from distune.records import EpochReport, TrialRecord, TrialSpec
from distune.study.planning.study_plan import StudyPlan
from distune.study.planning.study_time import NUM_RECENT, MeasuredEpochs, StudyTime, TrialTime, epoch_times, study_time


class StudyClock:
    """Receives the events of a session, see ``StudyCallback``, and estimates the time left of the study.

    Args:
        plan: of the whole study.
        trials: key to each trial that earlier sessions have started.
        measured: their epochs.
        started_at: when the study was created, in seconds since 1970.
        session_at: when this session started.
    """

    def __init__(
        self,
        plan: StudyPlan,
        trials: Mapping[str, TrialTime],
        measured: MeasuredEpochs,
        *,
        started_at: float,
        session_at: float,
    ) -> None:
        self._plan, self._started_at, self._session_at = plan, started_at, session_at
        # The session gives out interrupted trials one after the other.
        self._trials = {key: dataclasses.replace(trial, is_running=False) for key, trial in trials.items()}
        # The latest are enough: a study may have many thousands, and a display reads the clock twice a second.
        self._searched = deque(sorted(measured.searched), maxlen=NUM_RECENT)
        self._controls = deque(sorted(measured.controls), maxlen=NUM_RECENT)

    def start(self, spec: TrialSpec) -> None:
        """Take a trial that starts or resumes."""
        known = self._trials.get(spec.key)
        self._trials[spec.key] = TrialTime(
            control=spec.control, epochs=0 if known is None else known.epochs, is_open=True, is_running=True
        )

    def add(self, spec: TrialSpec, report: EpochReport) -> None:
        """Take an epoch of a trial."""
        self._trials[spec.key] = dataclasses.replace(self._trials[spec.key], epochs=report.epoch)
        (self._controls if spec.control else self._searched).extend(epoch_times([report]))

    def end(self, record: TrialRecord) -> None:
        """Take a trial that ended or was interrupted."""
        self._trials[record.key] = TrialTime.of(record)

    def read(self, now: float) -> StudyTime:
        """Return the time of the study at ``now``, in seconds since 1970."""
        measured = MeasuredEpochs(searched=tuple(self._searched), controls=tuple(self._controls))
        trials = list(self._trials.values())
        return study_time(
            self._plan, trials, measured, started_at=self._started_at, session_at=self._session_at, now=now
        )
