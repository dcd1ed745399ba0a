"""Records the progress of a confirmation or an ablation, while it runs, for ``distune status``."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

from distune.records import EpochReport, Outcome, TrialRecord, TrialSpec
from distune.study.callback import Callback, CallbackList, Decision, StudyCallback
from distune.study.files.runs_progress import RunsProgress
from distune.study.files.study_folder import StudyFolder


@contextlib.contextmanager
def recorded_runs(folder: StudyFolder, session: str, callback: StudyCallback) -> Iterator[StudyCallback]:
    """Record the runs of a session in the study's folder, until it ends.

    Args:
        folder: of the study, whose lock is held.
        session: ``confirmation`` or ``ablation``.
        callback: receives the events as well.

    Yields:
        The callback of the session.
    """
    try:
        yield CallbackList([callback, _Recorder(folder, session)])
    finally:
        with contextlib.suppress(OSError):
            folder.runs_file.unlink(missing_ok=True)


class _Recorder(Callback):
    """Writes the progress at each event."""

    def __init__(self, folder: StudyFolder, session: str) -> None:
        self._file = folder.runs_file
        self._progress = RunsProgress(session=session, num_runs=0)

    def on_session_start(self, num_trials: int) -> None:
        """Write the number of runs."""
        self._write(num_runs=num_trials)

    def on_trial_start(self, spec: TrialSpec) -> None:
        """Add a run."""
        self._write(running={**self._progress.running, spec.key: (0, spec.num_epochs)})

    def on_epoch_end(self, spec: TrialSpec, report: EpochReport, decision: Decision) -> None:
        """Write the epoch of a run."""
        self._write(running={**self._progress.running, spec.key: (report.epoch, spec.num_epochs)})

    def on_trial_end(self, record: TrialRecord) -> None:
        """Count a run."""
        running = {key: epochs for key, epochs in self._progress.running.items() if key != record.key}
        self._write(running=running, num_ended=self._progress.num_ended + (record.outcome is not Outcome.INTERRUPTED))

    def _write(self, **changes: object) -> None:
        self._progress = dataclasses.replace(self._progress, **changes)  # type: ignore[arg-type]
        self._progress.write(self._file)
