"""A session of a confirmation: trains missing runs, chooses a trial, and compares it with its control."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from distune.config.load import LoadedExperiment
from distune.confirmation.analysis import nominal_error
from distune.confirmation.arm_folder import ArmFolder
from distune.confirmation.arms_training import ArmsTraining
from distune.confirmation.confirmation_plan import ConfirmationPlan
from distune.confirmation.joint_training import JobContext
from distune.confirmation.ranking import best_run, failures_of, stop_without_runs, tables_of
from distune.confirmation.reporter import ConfirmationReporter
from distune.confirmation.selection import describe_candidates, without_worst
from distune.evidence.confirmation_result import AnalysisRecord, Candidate, ConfirmationResult, EvaluationRecord
from distune.evidence.gain import Gain, measure_gain
from distune.evidence.matches import ImageMask, MatchTable, half_of_images
from distune.evidence.resampling import resample_runs
from distune.records import TrialSpec
from distune.study.callback import StudyCallback
from distune.study.files.settings_diff import describe_changes
from distune.study.files.study_folder import StudyFolder, StudyIdentity
from distune.study.resources import check_resources
from distune.study.runners.ray_loss import ray_loss_reported
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
    is_locked: bool = False,
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
        is_locked: whether the caller holds the lock of the study; otherwise it is held here.

    Returns:
        The result; None when a signal has stopped the session, which can be resumed then.

    Raises:
        StudyError: another session runs the study, its files were edited in a way that makes its trials incomparable,
            or no run has finished beside its control.
        ResourceError: the machine does not have the resources of a trial.
        StudyStoppedError: the records cannot be written, such as on a full disk, or a server of Ray has ended. The
            session can be resumed.
    """
    try:
        with (
            ray_loss_reported(folder.name, command="confirm"),
            contextlib.nullcontext() if is_locked else folder.lock(),
        ):
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

    @property
    def _training(self) -> ArmsTraining:
        return ArmsTraining(self.identity, self.loaded.experiment.resources)

    def run(self, state: str, tracker: Tracker, callback: StudyCallback) -> ConfirmationResult | None:
        """Run the session under the study's lock."""
        experiment = self.loaded.experiment
        for line in describe_changes(update_settings(self.folder, self.loaded)):
            callback.on_message(line)
        check_resources(experiment.resources, simulate=self.identity.simulate)
        num_trials = self.folder.num_trials(experiment)
        tracker.start_study(*describe_study(self.loaded, self.identity, num_trials=num_trials))
        reporter = ConfirmationReporter(
            num_runs=self.plan.num_runs_left, metric=self.identity.metric, tracker=tracker, callback=callback
        )
        try:
            with stop_on_signals() as should_stop:
                context = JobContext(should_stop=should_stop, on_progress=reporter.report_new)
                result = self._confirm(context, reporter)
                if result is not None and result != self.folder.confirmation.read():
                    self._publish(result, tracker)
                return result
        finally:
            try:
                reporter.interrupt()
            finally:
                tracker.end_study(state)

    def _confirm(self, context: JobContext, reporter: ConfirmationReporter) -> ConfirmationResult | None:
        """Choose a trial, compare it, and add seeds as long as they are needed; None when a signal asked to stop."""
        ranking = self._choose(context, reporter)
        if ranking is None:
            return None
        seeds = self.plan.seeds
        while True:
            students, controls = self.plan.result_runs(ranking[0].number, seeds)
            if not self._training.train([*controls, *students], context, reporter):
                return None
            result = self._compare(ranking, students, controls, context)
            if result is None or self.plan.max_seeds is None:
                return result
            if result.is_decided or len(seeds) >= self.plan.max_seeds:
                return result
            reporter.callback.on_message(f"after {len(seeds)} seeds: {result.summary}")
            seeds = (*seeds, seeds[-1] + 1)

    def _choose(self, context: JobContext, reporter: ConfirmationReporter) -> list[Candidate] | None:
        """Return the trials, the chosen one first; None when a signal asked to stop."""
        racing = [arm.number for arm in self.plan.arms.trials]
        runs: dict[int, list[TrialSpec]] = {}
        # The study's score is of all images, and of its own metric.
        is_comparable = self.has_test and self.identity.metric == f"search/{self.metric}"
        searched = self.plan.searched if is_comparable else {}
        candidates = describe_candidates(self.plan.arms, runs, self.metric, searched=searched)
        for seed in self.plan.selection_seeds:
            if len(racing) == 1:
                break
            specs = self.plan.selection_runs(racing, seed)
            if not self._training.train(list(specs.values()), context, reporter):
                return None
            for number, spec in specs.items():
                runs.setdefault(number, []).append(spec)
            images = self._images(specs.values(), is_chosen_by=True)
            candidates = describe_candidates(self.plan.arms, runs, self.metric, searched=searched, images=images)
            racing = without_worst(candidates, racing)
        return sorted(candidates, key=lambda each: each.number != racing[0])

    def _compare(
        self,
        ranking: Sequence[Candidate],
        students: Sequence[TrialSpec],
        controls: Sequence[TrialSpec],
        context: JobContext,
    ) -> ConfirmationResult | None:
        """Measure the gain of the chosen trial; None when a signal asked to stop."""
        winner, seeds = ranking[0], tuple(spec.seed for spec in students)
        images = self._images([*students, *controls], is_chosen_by=False)
        tables = [tables_of(runs, "search", images=images) for runs in (students, controls)]
        failures = (*winner.failures, *failures_of(students), *failures_of(controls))
        pairs = tables[0].keys() & tables[1].keys()
        if not pairs:
            stop_without_runs(failures)
        students, controls = ([spec for spec in runs if spec.seed in pairs] for runs in (students, controls))
        num_previous = 0
        if self.has_test:
            evaluation = EvaluationRecord(trial=winner.number, seeds=tuple(sorted(pairs)), metric=self.metric)
            others = self.folder.confirmation.record_test_evaluation(evaluation)
            # Those of the same trial with fewer or more seeds do not count: the interval is wider for them.
            own = (winner.number, self.metric)
            num_previous = sum((each.trial, each.metric) != own for each in others)
            if not self._training.run_jobs([*students, *controls], "test", context):
                return None
        error, num_analyses = self._analyze(winner.number, len(pairs))
        search = self._measure(tables, error)
        test = (
            self._measure([tables_of(runs, "test") for runs in (students, controls)], error) if self.has_test else None
        )
        best = best_run(students, self.metric)
        chosen = dataclasses.replace(winner, search=search, failures=failures)
        return ConfirmationResult(
            metric=self.metric,
            seeds=seeds,
            candidates=(chosen, *ranking[1:]),
            winner=winner.number,
            test=test,
            previous_test_evaluations=num_previous,
            best_seed=best.seed,
            weights=str(ArmFolder.of(best).trial.best_checkpoint.relative_to(self.folder.path)),
            selection_seeds=self.plan.selection_seeds,
            num_analyses=num_analyses,
            max_seeds=self.plan.max_seeds,
            margin=self.plan.margin,
        )

    def _measure(self, tables: Sequence[dict[int, MatchTable]], error: float) -> Gain:
        students, controls = (resample_runs(each, self.metric) for each in tables)
        teacher_of = None if self.plan.num_teachers == 1 else self.plan.teacher_of
        return measure_gain(students, controls, error=error, teacher_of=teacher_of)

    def _analyze(self, trial: int, num_seeds: int) -> tuple[float, int]:
        """Record an interval, and return its nominal error and its number among those of the trial."""
        own, split = self.folder.confirmation, "test" if self.has_test else "search"
        if self.plan.num_teachers > 1:  # a claim of its own, on other teachers
            split += f", {self.plan.num_teachers} teachers"
        previous = own.analyses(trial, self.metric, split)
        plan = None if self.plan.max_seeds is None else (len(self.plan.seeds), self.plan.max_seeds)
        error = nominal_error(previous, num_seeds, plan)
        own.record_analysis(
            AnalysisRecord(trial=trial, metric=self.metric, split=split, num_seeds=num_seeds, error=error, plan=plan)
        )
        known = {each.num_seeds for each in own.analyses(trial, self.metric, split)}
        return error, sum(number <= num_seeds for number in known)

    def _images(self, specs: Iterable[TrialSpec], *, is_chosen_by: bool) -> ImageMask | None:
        """Return the images of the search split that choose, or that measure; None where all do both.

        With a test split all choose. Without one, half of them choose among several trials, and the others measure.
        """
        if self.has_test or not self.plan.selection_seeds:
            return None
        tables = tables_of(list(specs), "search").values()
        is_choosing_I = next((half_of_images(table.num_images) for table in tables), None)
        return is_choosing_I if is_chosen_by or is_choosing_I is None else ~is_choosing_I

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
