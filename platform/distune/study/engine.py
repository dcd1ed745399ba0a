"""The study engine: gives out trials, takes their reports, and decides when a trial and the study end.

The engine starts no processes. A runner asks it for trials, works on as many at a time as fit, and reports what
happened; the local and the Ray runner drive the same engine, each from one thread. Everything that must survive a crash
is on disk before a method returns: in the trial's folder, then with the tracker, then in Optuna.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Iterable

from distune.config.load import LoadedExperiment
from distune.config.metric_names import cost_names, metric_name
from distune.records import EpochReport, Outcome, TrialSpec
from distune.study.callback import Decision, StudyCallback
from distune.study.failures.reasons import BLOCKING_KINDS, MAX_SAME_FAILURES, is_of_kind
from distune.study.failures.retries import (
    Company,
    Retry,
    company_of,
    describe_retry,
    may_retry,
)
from distune.study.files.artifacts import write_trial_file
from distune.study.recovery import read_earlier_sessions, read_unfinished, recorded_epochs, restore_scheduler
from distune.study.schedulers.build import build_scheduler
from distune.study.search.initial_configurations import initial_configurations
from distune.study.search.stored_trial import StoredTrial
from distune.study.search.trial_proposer import TrialProposer
from distune.study.search.trial_store import TrialStore
from distune.study.trial_progress import TrialProgress
from distune.study.trial_recorder import TrialRecorder, ending_of_complete
from distune.study.trial_spec import SpecMaker
from distune.study.unrecorded import check_all_recorded, describe_lost
from distune.tracking.tracker import Tracker
from distune.tracking.values import MAX_TAG_LENGTH
from distune.training.trial_folder import TrialFolder


class StudyEngine:
    """One session of a study.

    The order of trials: those that an earlier session left unfinished, the controls, the initial configurations, then
    what the sampler proposes. A trial that has done all its epochs is COMPLETE, with the metric of its best epoch as
    its value, because the study delivers the weights of that epoch.

    Args:
        loaded: the experiment and its space.
        trial_store: the trials in Optuna.
        specs: makes trial specifications.
        num_trials: number of searched trials over all sessions.
        tracker: receives every event.
        callback: receives every event.

    Attributes:
        failure: why the study was aborted, None otherwise.
        blocking_error: why this session cannot continue although a later one may, None otherwise.
        exhausted: why fewer trials are started than were asked for, None otherwise.
    """

    def __init__(
        self,
        loaded: LoadedExperiment,
        trial_store: TrialStore,
        specs: SpecMaker,
        *,
        num_trials: int,
        tracker: Tracker,
        callback: StudyCallback,
    ) -> None:
        experiment = loaded.experiment
        self.failure: str | None = None
        self.blocking_error: str | None = None
        self.exhausted: str | None = None
        self._trial_store, self._specs, self._tracker, self._callback = trial_store, specs, tracker, callback
        self._metric, self._costs = metric_name(experiment), cost_names(experiment)
        self._in_flight: dict[str, TrialProgress] = {}
        self._requeued: deque[TrialSpec] = deque()
        self._is_interrupted = False

        stored = trial_store.trials()
        scheduler = build_scheduler(experiment.search.scheduler, experiment.training.epochs)
        restore_scheduler(scheduler, stored)
        self._recorder = TrialRecorder(trial_store, scheduler, tracker, callback, metric=self._metric, earlier=stored)
        earlier = read_earlier_sessions(stored, specs.trials_folder)
        self._unfinished = deque(earlier.unfinished)
        self._failures, self._identical_trials = earlier.failures, earlier.identical_trials
        self._num_started = earlier.num_searched
        self._trials_to_start = num_trials - earlier.num_searched
        self._controls_to_start = experiment.search.controls - earlier.num_controls
        self._proposer = TrialProposer(
            trial_store,
            searched=loaded.searched,
            sampler=experiment.search.sampler,
            initial=initial_configurations(experiment, loaded.searched),
            on_message=callback.on_message,
        )

    @property
    def in_flight(self) -> tuple[str, ...]:
        """Keys of the trials that were given out and have not ended."""
        return tuple(self._in_flight)

    @property
    def num_remaining(self) -> int:
        """Trials that this session has yet to run or finish, controls included."""
        to_start = max(0, self._controls_to_start) + max(0, self._trials_to_start)
        return len(self._in_flight) + len(self._unfinished) + to_start

    @property
    def is_done(self) -> bool:
        """True when all trials have ended, or the study was aborted and no trial is in flight."""
        if self._in_flight or self._unfinished or self._is_interrupted:
            return False
        return self.failure is not None or (self._controls_to_start <= 0 and self._trials_to_start <= 0)

    @property
    def has_failed(self) -> bool:
        """True when the session ends early: the study was aborted, or the session cannot continue."""
        return self.failure is not None or self.blocking_error is not None

    def company_of(self, key: str) -> Company:
        """Return whether other trials may share the device of a trial that was given out."""
        progress = self._in_flight.get(key)
        return Company.SHARED if progress is None else company_of(progress.retries, epochs=progress.epochs)

    def next_trial(self) -> TrialSpec | None:
        """Return the next trial to work on, None when there is none now or the session ends.

        Trials to be retried come first. A trial that has nothing left to do, or whose parameters are incompatible, is
        ended here, and the next one is returned.
        """
        while self.failure is None and self.blocking_error is None and not self._is_interrupted:
            if self._requeued:
                return self._requeued.popleft()
            if self._unfinished:
                spec = self._resume(self._unfinished.popleft())
            elif self._controls_to_start > 0:
                self._controls_to_start -= 1
                spec = self._begin(*self._specs.make(self._trial_store.start_control(), {}))
            elif self._trials_to_start > 0:
                asked = self._proposer.ask(self._num_started)
                if asked is None:
                    self._stop_starting()
                    return None
                self._trials_to_start -= 1
                self._num_started += 1
                spec = self._begin(*self._specs.make(*asked))
            else:
                return None
            if spec is not None:
                return spec
        return None

    def report(self, key: str, report: EpochReport) -> Decision:
        """Record an epoch and decide whether the trial continues. An epoch that is known is not counted again.

        Args:
            key: of a trial that was given out.
            report: is in the trial's folder already.

        Returns:
            STOP when the trial has ended, or ``blocking_error`` says why its end could not be recorded. The runner only
            has to stop working on it.
        """
        progress = self._in_flight.get(key)
        if progress is None:
            return Decision.STOP
        if report.epoch <= progress.epochs:
            return Decision.CONTINUE
        ending = self._recorder.record_epoch(progress, report)
        if ending is None:
            return Decision.CONTINUE
        self._end(progress, *ending)
        return Decision.STOP

    def fail(self, key: str, reason: str, *, in_company: bool = False) -> None:
        """Record that an attempt at a trial failed. Retry the trial if that can help, else end it as failed.

        Epochs that the worker wrote into the folder without reporting them count, and may end the trial. After an error
        of the disk, or when another process holds the folder, the trial stays in flight and ``blocking_error`` is set.
        A trial that has ended is left as it is.

        Args:
            key: of a trial that was given out and that no worker runs any more.
            reason: as returned by ``describe_failure``.
            in_company: whether the worker trained other trials as well, one of which may be the cause.
        """
        progress = self._in_flight.get(key)
        if progress is None:
            return
        if any(is_of_kind(reason, kind) for kind in BLOCKING_KINDS):
            self.blocking_error = self.blocking_error or f"trial {key}: {reason}"
            return
        for report in TrialFolder.of(progress.spec).reports():
            if self.report(key, report) is Decision.STOP:
                return
        retry = Retry(reason=reason, epochs=progress.epochs, in_company=in_company)
        if may_retry(retry, progress.retries):
            progress.retries.append(retry)
            self._trial_store.record_retries(progress.spec.number, progress.retries)
            self._requeued.append(progress.spec)
            self._callback.on_message(describe_retry(key, retry))
        else:
            self._end(progress, Outcome.FAILED, reason)

    def requeue(self, key: str) -> None:
        """Give a trial out again as the next one, because no worker could start it. Ignore a trial that has ended."""
        progress = self._in_flight.get(key)
        if progress is not None:
            self._requeued.appendleft(progress.spec)

    def interrupt(self) -> None:
        """End the session. Trials that have not ended stay RUNNING in Optuna, and a later session resumes them.

        No trial is given out afterwards. Later reports are ignored; their epochs are in the folders.
        """
        for trial in self._unfinished:
            spec, _ = self._specs.make(trial.number, trial.params)
            self._start(spec, recorded_epochs(trial, self._specs.trials_folder), trial.retries)
        self._unfinished.clear()
        self._is_interrupted = self._is_interrupted or bool(self._in_flight)
        for progress in self._in_flight.values():
            record = progress.record(Outcome.INTERRUPTED)
            self._tracker.end_trial(record)
            self._callback.on_trial_end(record)
        self._in_flight.clear()

    def _begin(self, spec: TrialSpec, problem: str | None) -> TrialSpec | None:
        """Start a new trial. Return None when its parameters are incompatible, which fails it at once."""
        folder = TrialFolder.of(spec)
        if folder.path.is_dir():
            check_all_recorded(spec.study, [spec.key] if folder.is_trained else [])
            # Left by a crash before Optuna had recorded the trial; its parameters were others.
            shutil.rmtree(folder.path)
        write_trial_file(spec)
        progress = self._start(spec)
        if problem is None:
            return spec
        self._end(progress, Outcome.FAILED, problem)
        return None

    def _resume(self, trial: StoredTrial) -> TrialSpec | None:
        """Resume a trial of an earlier session. Return None when that session left nothing but its end to do."""
        unfinished = read_unfinished(trial, self._proposer, self._specs)
        lost = describe_lost(trial, [*unfinished.recorded, *unfinished.unrecorded])
        if lost is not None:
            self._callback.on_message(f"warning: {lost}")
        progress = self._start(unfinished.spec, unfinished.recorded, trial.retries)
        ending = unfinished.announced
        for report in unfinished.unrecorded:
            if ending is None or unfinished.announced is not None:
                ending = self._recorder.record_epoch(progress, report, unfinished.announced)
        if ending is None and unfinished.problem is not None:
            ending = Outcome.FAILED, unfinished.problem
        if ending is None and progress.is_done:
            ending = ending_of_complete(progress)
        if ending is None:
            return unfinished.spec
        self._end(progress, *ending)
        return None

    def _start(
        self, spec: TrialSpec, recorded: Iterable[EpochReport] = (), retries: Iterable[Retry] = ()
    ) -> TrialProgress:
        progress = self._in_flight[spec.key] = TrialProgress(spec, self._metric, self._costs, retries)
        self._recorder.start(progress, recorded)
        return progress

    def _end(self, progress: TrialProgress, outcome: Outcome, reason: str | None) -> None:
        key = progress.spec.key
        blocking_error = self._recorder.end(progress, outcome, reason)
        if blocking_error is not None:
            self.blocking_error = self.blocking_error or f"trial {key}: {blocking_error}"
            return
        del self._in_flight[key]
        self._callback.on_trial_end(progress.record(outcome, reason))
        self._warn_if_identical(progress, outcome)
        if outcome is not Outcome.FAILED:
            self._failures.reset()
        elif self._failures.failed(reason or ""):
            self.failure = f"{MAX_SAME_FAILURES} trials in a row failed for the same reason: {reason}"

    def _warn_if_identical(self, progress: TrialProgress, outcome: Outcome) -> None:
        spec = progress.spec
        reports = [each for each in TrialFolder.of(spec).reports() if each.epoch <= progress.epochs]
        warning = self._identical_trials.add(spec.number, spec.params, outcome, reports)
        if warning is not None:
            self._callback.on_message(f"warning: {warning}")
            self._tracker.log_study({}, {"warning": self._identical_trials.summary(MAX_TAG_LENGTH)})

    def _stop_starting(self) -> None:
        self.exhausted = (
            f"all configurations of the search space have been tried: {self._num_started} trials instead of "
            f"{self._num_started + self._trials_to_start}"
        )
        self._trials_to_start = 0
        self._callback.on_message(self.exhausted)
