"""Follows the runs of a confirmation in their folders, and tells tracker and callback what is new there."""

from __future__ import annotations

from collections.abc import Sequence

from distune.atomic_write import write_atomically
from distune.confirmation.arm_folder import ArmFolder
from distune.records import Outcome, TrialSpec
from distune.study.callback import Decision, StudyCallback
from distune.study.files.artifacts import ERROR_FILE, TRIAL_FILE
from distune.study.trial_progress import TrialProgress
from distune.tracking.tracker import Tracker


class ConfirmationReporter:
    """Tells everything once per session, and nothing of the runs whose end an earlier session has told.

    Workers may be anywhere: they write folders, and only this one speaks. Epochs of an earlier session are told to the
    tracker again, which stores them once.

    Args:
        specs: of all runs.
        metric: of the study, such as ``search/AP``.
        tracker: is told everything.
        callback: hears what happens in this session.
    """

    def __init__(self, specs: Sequence[TrialSpec], *, metric: str, tracker: Tracker, callback: StudyCallback) -> None:
        self._tracker, self._callback = tracker, callback
        self._metric = metric
        self._open = {spec.key: TrialProgress(spec, metric) for spec in specs if not _folder(spec).told_file.is_file()}
        self._num_noted = {key: len(_folder(progress.spec).notes()) for key, progress in self._open.items()}
        for progress in self._open.values():
            self._tracker.start_trial(progress.spec)
            self._callback.trial_started(progress.spec)
        self._take_epochs(is_news=False)

    def follow(self) -> None:
        """Tell what is new."""
        self._take_notes()
        self._take_epochs(is_news=True)
        for key, progress in list(self._open.items()):
            folder = _folder(progress.spec)
            outcome, reason = folder.outcome()
            if outcome is not None:
                for name in (TRIAL_FILE, ERROR_FILE):
                    if (folder.path / name).is_file():
                        self._tracker.log_file(key, folder.path / name, "")
                self._end(progress, outcome, reason)
                write_atomically(folder.told_file, b"{}")
                del self._open[key]

    def interrupt(self) -> None:
        """The session is over; what has not ended is interrupted."""
        try:
            self.follow()
        finally:  # also on a full disk
            for progress in self._open.values():
                self._end(progress, Outcome.INTERRUPTED, None)
            self._open.clear()

    def _end(self, progress: TrialProgress, outcome: Outcome, reason: str | None) -> None:
        record = progress.record(outcome, reason)
        self._tracker.end_trial(record)
        self._callback.trial_ended(record)

    def _take_notes(self) -> None:
        for key, progress in self._open.items():
            for note in _folder(progress.spec).notes()[self._num_noted[key] :]:
                self._callback.message(f"{key}: {note}")
                self._num_noted[key] += 1

    def _take_epochs(self, *, is_news: bool) -> None:
        for key, progress in self._open.items():
            for report in _folder(progress.spec).trial.reports():
                if report.epoch > progress.epochs:
                    progress.add_epoch(report)
                    self._tracker.log_epoch(key, report)
                    if is_news:
                        decision = Decision.STOP if progress.is_done else Decision.CONTINUE
                        self._callback.epoch_done(progress.spec, report, decision)


def _folder(spec: TrialSpec) -> ArmFolder:
    return ArmFolder.of(spec)
