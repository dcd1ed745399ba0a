"""Records what happens to a trial: with the tracker first, then in Optuna, then for the callback.

A later session repeats what Optuna does not know yet, so whatever Optuna knows must have reached the tracker before.
The metrics are in the trial's own folder before they are recorded here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from distune.records import EpochReport, Outcome
from distune.study.callback import Decision, StudyCallback
from distune.study.files.artifacts import clean_up, log_artifacts
from distune.study.files.trial_outcome import write_outcome
from distune.study.schedulers.build import Scheduler
from distune.study.search.stored_trial import StoredTrial
from distune.study.search.trial_store import TrialStore
from distune.study.trial_gains import TrialGains, ended_records, gain_metric
from distune.study.trial_progress import TrialProgress
from distune.tracking.tracker import Tracker
from distune.training.trial_folder import TrialFolder

Ending = tuple[Outcome, str | None]
"""The outcome of a trial and its reason."""


class TrialRecorder:
    """Records trials and decides after each epoch whether a trial ends.

    Args:
        trial_store: the trials in Optuna.
        scheduler: stops searched trials early; controls are never stopped.
        tracker: receives every event.
        callback: receives every event.
        metric: the metric of the study, such as ``search/AP``.
        earlier: all trials at the start of the session.
    """

    def __init__(
        self,
        trial_store: TrialStore,
        scheduler: Scheduler,
        tracker: Tracker,
        callback: StudyCallback,
        *,
        metric: str,
        earlier: Iterable[StoredTrial] = (),
    ) -> None:
        self._gains = TrialGains(ended_records(earlier, metric), metric)
        self._trial_store, self._scheduler, self._metric = trial_store, scheduler, metric
        self._tracker, self._callback = tracker, callback
        self._shown_warnings: set[str] = set()

    def start(self, progress: TrialProgress, recorded: Iterable[EpochReport] = ()) -> None:
        """Record the start of a trial.

        Args:
            progress: of the trial, before its first epoch.
            recorded: epochs that Optuna knows from an earlier session. The tracker stores repeated points once.
        """
        self._tracker.start_trial(progress.spec)
        for report in recorded:
            progress.add_epoch(report)
            self._tracker.log_epoch(progress.spec.key, report)
        self._callback.on_trial_start(progress.spec)

    def record_epoch(
        self, progress: TrialProgress, report: EpochReport, announced: Ending | None = None
    ) -> Ending | None:
        """Record an epoch and decide whether the trial ends with it.

        Args:
            progress: of the trial.
            report: of the epoch.
            announced: the ending that an earlier session announced and could not complete; it stands.

        Returns:
            The ending, recorded as announced so that a later session can complete it. None when the trial continues.
        """
        spec = progress.spec
        warnings = progress.add_epoch(report)
        self._tracker.log_epoch(spec.key, report)
        has_diverged = progress.divergence(report) is not None
        score = math.nan if has_diverged else report.metrics.get(self._metric, math.nan)
        ending = announced
        if announced is None:
            ending = self._decide(progress, report, score)
            if ending is not None and ending[0] is not Outcome.FINISHED:
                self._trial_store.announce_ending(spec.number, *ending)
        elif not spec.control:
            self._scheduler.restore(spec.key, {report.epoch: score})
        self._trial_store.report(spec.number, report.epoch, score)
        self._callback.on_epoch_end(spec, report, Decision.CONTINUE if ending is None else Decision.STOP)
        for warning in warnings:
            if warning not in self._shown_warnings:  # a warning about the teacher is the same in every trial
                self._shown_warnings.add(warning)
                self._callback.on_message(f"warning: trial {spec.key}: {warning}")
        return ending

    def end(self, progress: TrialProgress, outcome: Outcome, reason: str | None) -> str | None:
        """Record the end of a trial with the tracker and in Optuna, and remove the files that are not needed any more.

        Return the reason why the tracker may lose events, such as a full disk; None when everything is recorded. With a
        reason, the trial is left as it is in Optuna, so that a later session records its end again.
        """
        spec, record = progress.spec, progress.record(outcome, reason)
        folder = TrialFolder.of(spec)
        if outcome is Outcome.FAILED:
            self._trial_store.announce_ending(spec.number, outcome, reason)
        log_artifacts(self._tracker, spec.key, folder, outcome)
        self._tracker.end_trial(record)
        blocking_error = self._tracker.blocking_error()
        if blocking_error is None:
            write_outcome(folder.path, outcome, reason)
            clean_up(folder, outcome)
            for each, gain in self._gains.add(record):
                self._tracker.log_trial(each, gain_metric(self._metric, gain))
            self._trial_store.describe(record, self._gains.of(record))
            is_finished = outcome is Outcome.FINISHED
            self._trial_store.end(spec.number, record.state, progress.objectives if is_finished else None)
        return blocking_error

    def _decide(self, progress: TrialProgress, report: EpochReport, score: float) -> Ending | None:
        divergence = progress.divergence(report)
        if divergence is not None:
            return Outcome.DIVERGED, divergence
        if progress.is_done:
            return ending_of_complete(progress)
        spec = progress.spec
        if spec.control or self._scheduler.should_continue(spec.key, report.epoch, score):
            return None
        return Outcome.STOPPED, None


def ending_of_complete(progress: TrialProgress) -> Ending:
    """Return the ending of a trial that has done all its epochs."""
    if all(map(math.isfinite, progress.objectives[1:])):
        return Outcome.FINISHED, None
    return Outcome.FAILED, "bug: the costs of the student were not measured"
