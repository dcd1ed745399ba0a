"""The study engine: which trial comes next, and what becomes of a trial after each epoch.

It knows nothing of processes. A runner asks it for trials, works on as many at a time as it likes, and tells it what
happened; the local and the Ray runner drive the same engine, from one thread. All that must survive a crash is on disk
before the engine answers: in the trial's own folder first, then with the tracker, then in Optuna. What Optuna knows,
the tracker has been told, so a later session only repeats what Optuna does not know yet.
"""

from __future__ import annotations

import json
import math
import shutil
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from distune.atomic_write import write_atomically
from distune.config.load import LoadedExperiment
from distune.config.metric_names import cost_names, metric_name
from distune.records import EpochReport, Outcome, TrialSpec, TrialState, trial_key
from distune.study.callback import Decision, StudyCallback
from distune.study.failures.identical_trials import Twins, TwinWatch, watch_again
from distune.study.failures.reasons import BLOCKING_KINDS, MAX_SAME_FAILURES, is_of_kind, streak_after
from distune.study.failures.retries import Setback, describe_setback, may_try_again, must_be_alone
from distune.study.files.artifacts import TRIAL_FILE, clean_up, log_artifacts
from distune.study.schedulers.build import build_scheduler
from distune.study.search.initial_configurations import initial_configurations
from distune.study.search.trial_proposer import TrialProposer
from distune.study.search.trial_store import StoredTrial, TrialStore
from distune.study.trial_progress import TrialProgress
from distune.study.trial_spec import SpecMaker
from distune.tracking.tracker import Tracker
from distune.tracking.values import MAX_TAG_LENGTH
from distune.training.trial_folder import TrialFolder

Ending = tuple[Outcome, str | None]
"""How a trial ends, and why."""


class StudyEngine:
    """One session of a study.

    First come the trials that an earlier session left unfinished, then the controls, then new trials: the experiment's
    own values when it asks for them, then what the sampler proposes. A trial that has done its budget is COMPLETE, with
    the metric of its best epoch as its value: that epoch's weights are what the study delivers.

    Args:
        loaded: the experiment and its space.
        trial_store: the trials on record.
        specs: makes trial specifications.
        num_trials: searched trials in total, over all sessions.
        tracker: is told everything.
        callback: is told everything.

    Attributes:
        failure: why the study has ended itself, None as long as it has not.
        blocking_error: why this session cannot go on, though a later one may; None as long as it can.
        exhausted: why no more trials are started though more were asked for, None otherwise.
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
        self._scheduler = build_scheduler(experiment.search.scheduler, experiment.training.epochs)
        self._in_flight: dict[str, TrialProgress] = {}
        self._again: deque[TrialSpec] = deque()
        self._is_interrupted = False

        known = trial_store.trials()
        ended = sorted((trial for trial in known if trial.ended_at), key=lambda trial: trial.ended_at or 0.0)
        self._streak = streak_after((trial.reason or "") if trial.state is TrialState.FAIL else None for trial in ended)
        self._twins = self._watch(known)
        started = [trial for trial in known if trial.state is not TrialState.WAITING]
        self._left_over = deque(trial for trial in started if trial.state is TrialState.RUNNING)
        self._num_started = sum(trial.number >= 0 for trial in started)
        self._trials_to_start = num_trials - self._num_started
        self._controls_to_start = experiment.search.controls - sum(trial.number < 0 for trial in started)
        for trial in started:
            if trial.number >= 0:
                self._scheduler.restore(trial_key(trial.number), trial.scores)
        self._proposer = TrialProposer(
            trial_store,
            searched=loaded.searched,
            sampler=experiment.search.sampler,
            initial=initial_configurations(experiment, loaded.searched),
            on_message=callback.message,
        )

    @property
    def in_flight(self) -> tuple[str, ...]:
        """Keys of the trials that have been given out and have not ended."""
        return tuple(self._in_flight)

    def is_alone(self, key: str) -> bool:
        """Whether no other trial may be on the device of this one, which ran out of memory in company."""
        return key in self._in_flight and must_be_alone(self._in_flight[key].setbacks)

    @property
    def is_over(self) -> bool:
        """Whether all trials that were asked for have ended, or the study has failed and nothing is in flight."""
        if self._in_flight or self._left_over or self._is_interrupted:
            return False
        return self.failure is not None or (self._controls_to_start <= 0 and self._trials_to_start <= 0)

    def next_trial(self) -> TrialSpec | None:
        """Give out the next trial to work on; None when there is none to start now, and when the session is to end.

        A trial that is to be tried again comes first. One of an earlier session goes on after the epochs in its folder.
        Where they show that it is over already, or where the chosen values do not go together, the trial is ended here
        and the next one is given out.
        """
        while self.failure is None and self.blocking_error is None and not self._is_interrupted:
            if self._again:
                return self._again.popleft()
            if self._left_over:
                spec = self._go_on(self._left_over.popleft())
            elif self._controls_to_start > 0:
                self._controls_to_start -= 1
                spec = self._begin(*self._specs.make(self._trial_store.start_control(), {}))
            elif self._trials_to_start > 0:
                asked = self._proposer.ask(self._num_started)
                if asked is None:
                    self._give_up()
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
        """Take the report of an epoch.

        Args:
            key: of a trial that was given out.
            report: is in the trial's folder already. An epoch that is known is not counted again.

        Returns:
            STOP when the trial is over. It has been ended then, or ``blocking_error`` says why it could not be; the
            runner only stops working on it.
        """
        progress = self._in_flight.get(key)
        if progress is None:
            return Decision.STOP
        if report.epoch <= progress.epochs:
            return Decision.CONTINUE
        ending = self._take(progress, report)
        if ending is None:
            return Decision.CONTINUE
        self._end(progress, *ending)
        return Decision.STOP

    def fail(self, key: str, reason: str) -> None:
        """The attempt at a trial has failed. It is given out again where that may help, and ended where not.

        Its worker may have put epochs into the folder that nobody has reported; they count, and may even end the trial.
        Trouble with the disk, and a folder that another process works on, are nobody's fault: the trial stays in
        flight, and ``blocking_error`` says that the session is to end. A trial that is over is left as it is.

        Args:
            key: of a trial that was given out. Nobody works on it any more.
            reason: in words of ``describe_failure``.
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
        setback = Setback(reason=reason, epochs=progress.epochs)
        if may_try_again(setback, progress.setbacks):
            progress.setbacks.append(setback)
            self._trial_store.record_setbacks(progress.spec.number, progress.setbacks)
            self._again.append(progress.spec)
            self._callback.message(describe_setback(key, setback))
        else:
            self._end(progress, Outcome.FAILED, reason)

    def put_back(self, key: str) -> None:
        """A trial that was given out could not be begun: it is the next one to be given out, unless it is over."""
        progress = self._in_flight.get(key)
        if progress is not None:
            self._again.appendleft(progress.spec)

    def interrupt(self) -> None:
        """End the session. What has not ended stays RUNNING in Optuna, and a later session goes on with it.

        Nothing is given out afterwards, and reports are not taken any more: their epochs are in the folders.
        """
        for known in self._left_over:
            self._start(self._specs.make(known.number, known.params)[0], self._on_record(known), known.setbacks)
        self._left_over.clear()
        self._is_interrupted = self._is_interrupted or bool(self._in_flight)
        for progress in self._in_flight.values():
            record = progress.record(Outcome.INTERRUPTED)
            self._tracker.end_trial(record)
            self._callback.trial_ended(record)
        self._in_flight.clear()

    def _watch(self, known: list[StoredTrial]) -> TwinWatch:
        """What earlier sessions have seen of trials that are alike; those were told of then."""
        return watch_again(
            (trial.number, trial.params, trial.outcome, self._on_record(trial))
            for trial in known
            if trial.number >= 0 and trial.scores
        )

    def _alarm(self, twins: Twins | None) -> None:
        if twins is not None:
            self._callback.message(f"alarm: {twins}")
            self._tracker.log_study({}, {"alarm": self._twins.summary(MAX_TAG_LENGTH)})

    def _give_up(self) -> None:
        self.exhausted = (
            f"all configurations of the search space have been tried: {self._num_started} trials instead of "
            f"{self._num_started + self._trials_to_start}"
        )
        self._trials_to_start = 0
        self._callback.message(self.exhausted)

    def _begin(self, spec: TrialSpec, problem: str | None) -> TrialSpec | None:
        """Start a new trial."""
        folder = Path(spec.folder)
        if folder.is_dir():
            # Left behind by a crash before Optuna had recorded the trial; its values were others.
            shutil.rmtree(folder)
        _write_trial_file(spec)
        progress = self._start(spec)
        if problem is None:
            return spec
        self._end(progress, Outcome.FAILED, problem)
        return None

    def _go_on(self, known: StoredTrial) -> TrialSpec | None:
        """Take up a trial of an earlier session, with what its folder says and Optuna does not know yet."""
        spec, problem = self._specs.make(known.number, self._proposer.complete_params(known))
        if not (Path(spec.folder) / TRIAL_FILE).is_file():
            _write_trial_file(spec)  # cut off between the record in Optuna and the file
        progress = self._start(spec, self._on_record(known), known.setbacks)
        announced: Ending | None = None if known.ending is None else (known.ending, known.reason)
        ending = announced
        for report in TrialFolder.of(spec).reports():
            if report.epoch > progress.epochs and (ending is None or announced is not None):
                ending = self._take(progress, report, announced)
        if ending is None and problem is not None:
            ending = (Outcome.FAILED, problem)
        if ending is None and progress.is_done:
            ending = _finish(progress)
        if ending is None:
            return spec
        self._end(progress, *ending)
        return None

    def _start(
        self, spec: TrialSpec, reports: Iterable[EpochReport] = (), setbacks: Iterable[Setback] = ()
    ) -> TrialProgress:
        progress = self._in_flight[spec.key] = TrialProgress(spec, self._metric, self._costs, setbacks)
        self._tracker.start_trial(spec)
        for report in reports:
            progress.add_epoch(report)
            self._tracker.log_epoch(spec.key, report)
        self._callback.trial_started(spec)
        return progress

    def _on_record(self, known: StoredTrial) -> list[EpochReport]:
        """The epochs of a trial that Optuna knows as well."""
        folder = TrialFolder(self._specs.trials_folder / trial_key(known.number))
        return [report for report in folder.reports() if report.epoch in known.scores]

    def _take(self, progress: TrialProgress, report: EpochReport, announced: Ending | None = None) -> Ending | None:
        """Put an epoch on record, and decide, unless an earlier session has done so and was cut off in between."""
        spec = progress.spec
        progress.add_epoch(report)
        self._tracker.log_epoch(spec.key, report)
        has_diverged = progress.divergence(report) is not None
        score = math.nan if has_diverged else report.metrics.get(self._metric, math.nan)
        ending = announced
        if announced is None:
            ending = self._judge(progress, report, score)
            if ending is not None and ending[0] is not Outcome.FINISHED:
                self._trial_store.announce_ending(spec.number, *ending)
        elif not spec.control:
            self._scheduler.restore(spec.key, {report.epoch: score})
        self._trial_store.report(spec.number, report.epoch, score)
        self._callback.epoch_done(spec, report, Decision.CONTINUE if ending is None else Decision.STOP)
        self._alarm(self._twins.take(spec.number, spec.params, report))
        return ending

    def _judge(self, progress: TrialProgress, report: EpochReport, score: float) -> Ending | None:
        divergence = progress.divergence(report)
        if divergence is not None:
            return Outcome.DIVERGED, divergence
        if progress.is_done:
            return _finish(progress)
        if progress.spec.control or self._scheduler.should_continue(progress.spec.key, report.epoch, score):
            return None
        return Outcome.STOPPED, None

    def _end(self, progress: TrialProgress, outcome: Outcome, reason: str | None) -> None:
        spec, record = progress.spec, progress.record(outcome, reason)
        folder = TrialFolder.of(spec)
        if outcome is Outcome.FAILED:
            self._trial_store.announce_ending(spec.number, outcome, reason)
        log_artifacts(self._tracker, spec.key, folder, outcome)
        self._tracker.end_trial(record)
        blocking_error = self._tracker.blocking_error()
        if blocking_error is not None:
            # A later session goes on with what Optuna does not know, and tells the tracker again. Nobody else would.
            self.blocking_error = self.blocking_error or f"trial {spec.key}: {blocking_error}"
            return
        clean_up(folder, outcome)
        self._trial_store.end(spec.number, record.state, progress.objectives if outcome is Outcome.FINISHED else None)
        del self._in_flight[spec.key]
        self._callback.trial_ended(record)
        self._alarm(self._twins.end(spec.number, outcome))
        if outcome is not Outcome.FAILED:
            self._streak.ended_well()
        elif self._streak.failed(reason or ""):
            self.failure = f"{MAX_SAME_FAILURES} trials in a row failed for the same reason: {reason}"


def _write_trial_file(spec: TrialSpec) -> None:
    write_atomically(Path(spec.folder) / TRIAL_FILE, json.dumps(vars(spec), indent=1).encode())


def _finish(progress: TrialProgress) -> Ending:
    if all(map(math.isfinite, progress.objectives[1:])):
        return Outcome.FINISHED, None
    return Outcome.FAILED, "bug: the costs of the student were not measured"
