"""A session of a confirmation: train what is missing, decide, look at the test split once, write it all down."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

from distune.config.experiment import Experiment
from distune.confirmation.arm_folder import ArmFolder
from distune.confirmation.confirmation_plan import ConfirmationPlan
from distune.confirmation.gain_figure import draw_confirmation
from distune.confirmation.ranking import best_run, rank_candidates, tables_of
from distune.confirmation.reporter import ConfirmationReporter
from distune.confirmation.seed_job import SeedJob
from distune.confirmation.seed_runners import run_jobs_locally, run_jobs_on_ray
from distune.evidence.confirmation_result import Candidate, ConfirmationResult, EvaluationRecord
from distune.evidence.gain import Gain, measure_gain
from distune.evidence.resampling import resample_runs
from distune.records import TrialSpec
from distune.study.callback import StudyCallback
from distune.study.files.confirmation_folder import ConfirmationFolder
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
    """Confirm the best trials of a study. What an earlier session has done is not done again.

    Args:
        folder: of the study.
        plan: see ``plan_confirmation``.
        metric: one of ``METRICS``; what gains are measured in.
        has_test: whether the experiment has a test split.
        state: of the study, for the tracker.
        tracker: is told everything. The caller closes it.
        callback: is told everything.

    Returns:
        What was found; None when a signal has stopped the session, which can be gone on with then.

    Raises:
        StudyError: another session works on the study, its files were edited in a way that it cannot go on with, or
            nothing can be compared.
        ResourceError: the machine does not have what a trial asks for.
        StudyStoppedError: the records cannot be kept, such as on a full disk. It can be gone on with.
    """
    try:
        with folder.lock():
            return _run(folder, plan, metric, has_test, state, tracker, callback)
    except STORAGE_ERRORS as error:
        raise stopped_error(folder.name, error, command="confirm") from error


def _run(
    folder: StudyFolder,
    plan: ConfirmationPlan,
    metric: str,
    has_test: bool,
    state: str,
    tracker: Tracker,
    callback: StudyCallback,
) -> ConfirmationResult | None:
    """A session under the study's lock."""
    identity, loaded = folder.identity(), folder.load()
    for line in describe_changes(update_settings(folder, loaded)):
        callback.message(line)
    check_resources(loaded.experiment.resources, simulate=identity.simulate)
    for spec in plan.specs:
        otherwise = ArmFolder.of(spec).prepare(spec)
        if otherwise is not None:
            callback.message(f"{spec.key}: was trained {otherwise} and is trained again")
    tracker.start_study(*describe_study(loaded, identity, num_trials=folder.num_trials(loaded.experiment)))
    follower = ConfirmationReporter(plan.specs, metric=identity.metric, tracker=tracker, callback=callback)
    try:
        with stop_on_signals() as should_stop:
            work = _Work(plan, identity, loaded.experiment, should_stop, follower.follow)
            found = _recorded(folder.confirmation, plan, work, metric, has_test=has_test)
            if found is None:
                found = _confirm(folder, plan, work, metric, has_test=has_test)
                if found is not None:
                    _tell(folder, found, tracker)
            return found
    finally:
        try:
            follower.interrupt()
        finally:
            tracker.end_study(state)


@dataclasses.dataclass(frozen=True)
class _Work:
    """Does what is left to do, on the study's runner."""

    plan: ConfirmationPlan
    identity: StudyIdentity
    experiment: Experiment
    should_stop: Callable[[], bool]
    heard: Callable[[], None]

    def jobs(self, specs: Sequence[TrialSpec], split: Literal["search", "test"]) -> list[SeedJob]:
        """The jobs that are not done, one per seed."""
        by_seed = [tuple(spec for spec in specs if spec.seed == seed) for seed in self.plan.seeds]
        jobs = [SeedJob(specs=each, simulate=self.identity.simulate, split=split) for each in by_seed if each]
        return [job for job in jobs if not job.is_done]

    def do(self, specs: Sequence[TrialSpec], split: Literal["search", "test"]) -> bool:
        """Do the jobs. Returns whether nothing has asked to stop meanwhile."""
        jobs = self.jobs(specs, split)
        if self.identity.runner == "local" or not jobs:
            run_jobs_locally(jobs, should_stop=self.should_stop, heard=self.heard)
        else:
            run_jobs_on_ray(
                jobs,
                self.experiment.resources,
                simulate=self.identity.simulate,
                should_stop=self.should_stop,
                heard=self.heard,
            )
        return not self.should_stop()


def _confirm(
    folder: StudyFolder, plan: ConfirmationPlan, work: _Work, metric: str, *, has_test: bool
) -> ConfirmationResult | None:
    """Train, rank, and look at the test split; None when a signal asked to stop."""
    if not work.do(plan.specs, "search"):
        return None
    for job in work.jobs(plan.specs, "search"):
        job.fail("left no student behind")
    work.heard()
    ranking = rank_candidates(plan.arms, plan.runs, metric)
    if not has_test:
        return _conclude(folder, plan, ranking, metric, None, 0)
    students, controls = _pair(plan, ranking[0])
    look = EvaluationRecord(trial=ranking[0].number, seeds=tuple(sorted(spec.seed for spec in students)), metric=metric)
    previous_test_evaluations = folder.confirmation.record_test_evaluation(look)
    if not work.do([*students, *controls], "test"):
        return None
    test = measure_gain(*(resample_runs(tables_of(runs, "test"), metric) for runs in (students, controls)))
    return _conclude(folder, plan, ranking, metric, test, previous_test_evaluations)


def _pair(plan: ConfirmationPlan, winner: Candidate) -> tuple[list[TrialSpec], list[TrialSpec]]:
    """The runs of the winner and of its control, under the seeds under which both have finished."""
    assert winner.search is not None
    seeds = winner.search.by_seed
    students, controls = plan.runs[str(winner.number)], plan.runs[winner.control]
    return [spec for spec in students if spec.seed in seeds], [spec for spec in controls if spec.seed in seeds]


def _conclude(
    folder: StudyFolder,
    plan: ConfirmationPlan,
    ranking: Sequence[Candidate],
    metric: str,
    test: Gain | None,
    previous_test_evaluations: int,
) -> ConfirmationResult:
    winner = ranking[0]
    best = best_run(plan.runs[str(winner.number)], metric)
    weights = ArmFolder.of(best).trial.best_checkpoint
    return ConfirmationResult(
        metric=metric,
        seeds=plan.seeds,
        candidates=tuple(ranking),
        winner=winner.number,
        test=test,
        previous_test_evaluations=previous_test_evaluations,
        best_seed=best.seed,
        weights=str(weights.relative_to(folder.path)),
    )


def _recorded(
    own: ConfirmationFolder, plan: ConfirmationPlan, work: _Work, metric: str, *, has_test: bool
) -> ConfirmationResult | None:
    """The outcome on record, if it is of this very plan and nothing is left to do."""
    found = own.read()
    if found is None or (found.seeds, found.metric, found.test is not None) != (plan.seeds, metric, has_test):
        return None
    is_same = {arm.number for arm in plan.arms.trials} == {candidate.number for candidate in found.candidates}
    return found if is_same and not work.jobs(plan.specs, "search") else None


def _tell(folder: StudyFolder, found: ConfirmationResult, tracker: Tracker) -> None:
    """Tell the study's own run of the outcome, and put it on record when that is done."""
    final = found.final
    figures = {
        f"gain/{found.metric}": final.mean,
        "gain/low": final.low,
        "gain/high": final.high,
        f"confirm/{found.metric}": found.search.student,
    }
    if found.test is not None:
        figures |= {f"test/{found.metric}": found.test.student, f"test/control_{found.metric}": found.test.control}
    tags = {
        "verdict": found.words,
        "confirmed_trial": str(found.winner),
        "confirmed_on": found.split,
        "confirmed_seeds": str(final.num_seeds),
    }
    tracker.log_study(figures, tags)
    tracker.log_file(None, draw_confirmation(folder, found), "report")
    weights = folder.path / found.weights
    if weights.is_file():
        tracker.log_file(None, weights, "student")
    folder.confirmation.write(found)
    tracker.log_file(None, folder.confirmation.record_file, "report")
