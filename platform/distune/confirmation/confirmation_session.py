"""A session of a confirmation: trains what is missing, ranks the trials, evaluates the best one on the test split."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from distune.config.load import LoadedExperiment
from distune.confirmation.arm_folder import ArmFolder
from distune.confirmation.confirmation_plan import ConfirmationPlan
from distune.confirmation.joint_training import JobContext
from distune.confirmation.ranking import best_run, rank_candidates, tables_of
from distune.confirmation.reporter import ConfirmationReporter
from distune.confirmation.seed_job import SeedJob, Split
from distune.confirmation.seed_runners import run_jobs_locally, run_jobs_on_ray
from distune.evidence.confirmation_result import Candidate, ConfirmationResult, EvaluationRecord
from distune.evidence.gain import Gain, measure_gain
from distune.evidence.resampling import resample_runs
from distune.records import TrialSpec
from distune.study.callback import StudyCallback
from distune.study.files.settings_diff import describe_changes
from distune.study.files.study_folder import StudyFolder, StudyIdentity
from distune.study.resources import check_resources
from distune.study.runners.signals import stop_on_signals
from distune.study.session import describe_study
from distune.study.settings_update import update_settings
from distune.study.storage.optuna_storage import STORAGE_ERRORS, stopped_error
from distune.tracking.tracker import Tracker


def run_confirmation(
    folder: StudyFolder,
    plan: ConfirmationPlan,
    *,
    metric: str,
    has_test: bool,
    state: str,
    tracker: Tracker,
    callback: StudyCallback,
) -> ConfirmationResult | None:
    """Confirm the best trials of a study. What an earlier session has done is not repeated.

    Args:
        folder: of the study.
        plan: see ``plan_confirmation``.
        metric: of the gains, one of ``METRICS``.
        has_test: whether the experiment has a test split.
        state: of the study, for the tracker.
        tracker: receives every event. The caller closes it.
        callback: receives every event.

    Returns:
        The result; None when a signal has stopped the session, which can be resumed then.

    Raises:
        StudyError: another session runs the study, its files were edited in a way that makes its trials incomparable,
            or no run has finished beside its control.
        ResourceError: the machine does not have the resources of a trial.
        StudyStoppedError: the records cannot be written, such as on a full disk. The session can be resumed.
    """
    try:
        with folder.lock():
            session = _Session(folder, plan, metric, has_test, folder.identity(), folder.load())
            return session.run(state, tracker, callback)
    except STORAGE_ERRORS as error:
        raise stopped_error(folder.name, error, command="confirm") from error


@dataclasses.dataclass(frozen=True)
class _Session:
    folder: StudyFolder
    plan: ConfirmationPlan
    metric: str
    has_test: bool
    identity: StudyIdentity
    loaded: LoadedExperiment

    def run(self, state: str, tracker: Tracker, callback: StudyCallback) -> ConfirmationResult | None:
        """Run the session under the study's lock."""
        experiment = self.loaded.experiment
        for line in describe_changes(update_settings(self.folder, self.loaded)):
            callback.on_message(line)
        check_resources(experiment.resources, simulate=self.identity.simulate)
        for spec in self.plan.specs:
            mismatch = ArmFolder.of(spec).prepare(spec)
            if mismatch is not None:
                callback.on_message(f"{spec.key}: was trained {mismatch} and is trained again")
        num_trials = self.folder.num_trials(experiment)
        tracker.start_study(*describe_study(self.loaded, self.identity, num_trials=num_trials))
        reporter = ConfirmationReporter(
            self.plan.specs, metric=self.identity.metric, tracker=tracker, callback=callback
        )
        try:
            with stop_on_signals() as should_stop:
                context = JobContext(should_stop=should_stop, on_progress=reporter.report_new)
                result = self._recorded_result()
                if result is None:
                    result = self._confirm(context)
                    if result is not None:
                        self._publish(result, tracker)
                return result
        finally:
            try:
                reporter.interrupt()
            finally:
                tracker.end_study(state)

    def _recorded_result(self) -> ConfirmationResult | None:
        """Return the result of an earlier session, if it is of the same plan and no run is missing."""
        result = self.folder.confirmation.read()
        if result is None:
            return None
        is_same = (
            (result.seeds, result.metric, result.test is not None) == (self.plan.seeds, self.metric, self.has_test)
            and {arm.number for arm in self.plan.arms.trials} == {each.number for each in result.candidates}
            and not self._open_jobs(self.plan.specs, "search")
        )
        return result if is_same else None

    def _confirm(self, context: JobContext) -> ConfirmationResult | None:
        """Train, rank, and evaluate on the test split; None when a signal asked to stop."""
        if not self._run_jobs(self.plan.specs, "search", context):
            return None
        for job in self._open_jobs(self.plan.specs, "search"):
            job.fail("has no student")
        context.on_progress()
        ranking = rank_candidates(self.plan.arms, self.plan.runs, self.metric)
        if not self.has_test:
            return self._result(ranking, test=None, previous_test_evaluations=0)
        students, controls = self._pair(ranking[0])
        seeds = tuple(sorted(spec.seed for spec in students))
        evaluation = EvaluationRecord(trial=ranking[0].number, seeds=seeds, metric=self.metric)
        num_previous = self.folder.confirmation.record_test_evaluation(evaluation)
        if not self._run_jobs([*students, *controls], "test", context):
            return None
        test = measure_gain(*(resample_runs(tables_of(runs, "test"), self.metric) for runs in (students, controls)))
        return self._result(ranking, test=test, previous_test_evaluations=num_previous)

    def _open_jobs(self, specs: Sequence[TrialSpec], split: Split) -> list[SeedJob]:
        """Return the jobs that are not done, one per seed."""
        by_seed = [tuple(spec for spec in specs if spec.seed == seed) for seed in self.plan.seeds]
        jobs = [SeedJob(specs=each, simulate=self.identity.simulate, split=split) for each in by_seed if each]
        return [job for job in jobs if not job.is_done]

    def _run_jobs(self, specs: Sequence[TrialSpec], split: Split, context: JobContext) -> bool:
        """Run the jobs that are not done. Return False when a signal asked to stop."""
        jobs = self._open_jobs(specs, split)
        if self.identity.runner == "local" or not jobs:
            run_jobs_locally(jobs, context)
        else:
            run_jobs_on_ray(jobs, self.loaded.experiment.resources, context, simulate=self.identity.simulate)
        return not context.should_stop()

    def _pair(self, winner: Candidate) -> tuple[list[TrialSpec], list[TrialSpec]]:
        """Return the runs of the winner and of its control, under the seeds under which both have finished."""
        assert winner.search is not None
        seeds = winner.search.by_seed
        students, controls = self.plan.runs[str(winner.number)], self.plan.runs[winner.control]
        return [spec for spec in students if spec.seed in seeds], [spec for spec in controls if spec.seed in seeds]

    def _result(
        self, ranking: Sequence[Candidate], *, test: Gain | None, previous_test_evaluations: int
    ) -> ConfirmationResult:
        winner = ranking[0]
        best = best_run(self.plan.runs[str(winner.number)], self.metric)
        weights = ArmFolder.of(best).trial.best_checkpoint
        return ConfirmationResult(
            metric=self.metric,
            seeds=self.plan.seeds,
            candidates=tuple(ranking),
            winner=winner.number,
            test=test,
            previous_test_evaluations=previous_test_evaluations,
            best_seed=best.seed,
            weights=str(weights.relative_to(self.folder.path)),
        )

    def _publish(self, result: ConfirmationResult, tracker: Tracker) -> None:
        """Log the result to the run of the study, then write it into the study's folder."""
        final = result.gain
        figures = {
            f"gain/{result.metric}": final.mean,
            "gain/low": final.low,
            "gain/high": final.high,
            f"confirm/{result.metric}": result.search.student,
        }
        if result.test is not None:
            figures[f"test/{result.metric}"] = result.test.student
            figures[f"test/control_{result.metric}"] = result.test.control
        tags = {
            "verdict": result.summary,
            "confirmed_trial": str(result.winner),
            "confirmed_on": result.split,
            "confirmed_seeds": str(final.num_seeds),
        }
        tracker.log_study(figures, tags)
        from distune.confirmation.gain_figure import draw_confirmation  # loads matplotlib

        tracker.log_file(None, draw_confirmation(self.folder, result), "report")
        weights: Path = self.folder.path / result.weights
        if weights.is_file():
            tracker.log_file(None, weights, "student")
        self.folder.confirmation.write(result)
        tracker.log_file(None, self.folder.confirmation.record_file, "report")
