"""Reports the runs of a confirmation to tracker and callback, from what their workers wrote into the folders."""

from __future__ import annotations

from collections.abc import Sequence

from distune.confirmation.arm_folder import ArmFolder
from distune.records import Outcome, TrialSpec
from distune.study.callback import Decision, StudyCallback
from distune.study.files.artifacts import ERROR_FILE, TRIAL_FILE
from distune.study.trial_progress import TrialProgress
from distune.tracking.tracker import Tracker


class ConfirmationReporter:
    """Reports all runs but those whose outcome an earlier session has reported.

    Workers may run on other machines; they only write into folders. Epochs of an earlier session are sent to the
    tracker again, which stores them once.

    Args:
        num_runs: number of runs that are planned.
        metric: of the study, such as ``search/AP``.
        tracker: receives every event.
        callback: receives the events of this session.

    Attributes:
        callback: the callback.
    """

    def __init__(self, *, num_runs: int, metric: str, tracker: Tracker, callback: StudyCallback) -> None:
        self.callback = callback
        self._tracker, self._metric = tracker, metric
        self._open: dict[str, TrialProgress] = {}
        self._num_notes: dict[str, int] = {}
        self._is_started: set[str] = set()
        self.callback.on_session_start(num_runs)

    def add(self, specs: Sequence[TrialSpec]) -> None:
        """Report these runs as well, unless an earlier session has reported their outcomes."""
        for spec in specs:
            folder = ArmFolder.of(spec)
            if folder.is_reported or spec.key in self._open:
                continue
            self._open[spec.key] = TrialProgress(spec, self._metric)
            self._num_notes[spec.key] = len(folder.notes())
            self._tracker.start_trial(spec)
        self._report_epochs(is_new=False)

    def replace(self, spec: TrialSpec) -> None:
        """Set aside what the tracker knows of a former training of a run."""
        self._tracker.replace_trial(spec.key)

    def report_new(self) -> None:
        """Report what was written since the last call."""
        self._report_notes()
        self._report_epochs(is_new=True)
        for key, progress in list(self._open.items()):
            folder = ArmFolder.of(progress.spec)
            outcome, reason = folder.outcome()
            if outcome is not None:
                for name in (TRIAL_FILE, ERROR_FILE):
                    if (folder.path / name).is_file():
                        self._tracker.log_file(key, folder.path / name, "")
                self._end(progress, outcome, reason)
                folder.mark_reported()
                del self._open[key]

    def interrupt(self) -> None:
        """Report what is new, and all runs that have not ended as interrupted."""
        try:
            self.report_new()
        finally:  # also on a full disk
            for progress in self._open.values():
                self._end(progress, Outcome.INTERRUPTED, None)
            self._open.clear()

    def _start(self, spec: TrialSpec) -> None:
        if spec.key not in self._is_started:
            self._is_started.add(spec.key)
            self.callback.on_trial_start(spec)

    def _end(self, progress: TrialProgress, outcome: Outcome, reason: str | None) -> None:
        record = progress.record(outcome, reason)
        if outcome is not Outcome.INTERRUPTED:
            self._start(progress.spec)
        self._tracker.end_trial(record)
        if progress.spec.key in self._is_started:
            self.callback.on_trial_end(record)

    def _report_notes(self) -> None:
        for key, progress in self._open.items():
            for note in ArmFolder.of(progress.spec).notes()[self._num_notes[key] :]:
                self.callback.on_message(f"{key}: {note}")
                self._num_notes[key] += 1

    def _report_epochs(self, *, is_new: bool) -> None:
        for key, progress in self._open.items():
            for report in ArmFolder.of(progress.spec).trial.reports():
                if report.epoch > progress.epochs:
                    warnings = progress.add_epoch(report)
                    self._tracker.log_epoch(key, report)
                    if is_new:
                        self._start(progress.spec)
                        decision = Decision.STOP if progress.is_done else Decision.CONTINUE
                        self.callback.on_epoch_end(progress.spec, report, decision)
                        for warning in warnings:
                            self.callback.on_message(f"warning: {key}: {warning}")
