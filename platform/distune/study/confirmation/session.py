"""A session of a confirmation: train what is missing, decide, look at the test split once, write it all down."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from distune.config.experiment import Experiment
from distune.evidence.gain import Gain, measure_gain, resample_runs
from distune.evidence.words import describe_gain
from distune.records import Outcome, TrialSpec
from distune.study.confirmation.arms import Arms, candidates, fresh_seeds, make_arms, make_spec
from distune.study.confirmation.folder import ArmFolder
from distune.study.confirmation.follower import Follower
from distune.study.confirmation.picture import draw_confirmation
from distune.study.confirmation.record import Candidate, Confirmation, ConfirmationFolder, Look
from distune.study.confirmation.runners import run_jobs_locally, run_jobs_on_ray
from distune.study.confirmation.verdict import Runs, best_run, rank_candidates, tables_of
from distune.study.confirmation.work import SeedJob
from distune.study.folder import StudyFolder, StudyIdentity
from distune.study.listener import StudyListener
from distune.study.resources import check_resources
from distune.study.session import describe_study
from distune.study.signals import stop_on_signals
from distune.study.status import StudyStatus
from distune.tracking.tracker import Tracker

DEFAULT_TOP, DEFAULT_SEEDS = 3, 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConfirmationPlan:
    """What a confirmation trains.

    Attributes:
        arms: the trials and their controls.
        seeds: fresh ones.
        runs: name of an arm to its runs, one per seed.
        num_epochs: of all runs that are not done, at most.
    """

    arms: Arms
    seeds: tuple[int, ...]
    runs: Runs
    num_epochs: int

    @property
    def specs(self) -> list[TrialSpec]:
        """All runs."""
        return [spec for runs in self.runs.values() for spec in runs]


def plan_confirmation(
    folder: StudyFolder,
    status: StudyStatus,
    experiment: Experiment,
    *,
    top: int,
    num_seeds: int,
    teacher_weights: Path | None,
) -> ConfirmationPlan:
    """What there is to train. Writes nothing.

    Raises:
        StudyError: no trial of the search has finished.
    """
    arms = make_arms(candidates(status.trials, status.metric, top=top))
    seeds = tuple(fresh_seeds(experiment, num_seeds))
    weights = None if teacher_weights is None else str(teacher_weights)
    runs = {
        arm.name: [
            make_spec(
                arm,
                seed=seed,
                study=folder.name,
                experiment=experiment,
                folder=folder.confirmation.path,
                teacher_weights=weights,
            )
            for seed in seeds
        ]
        for arm in arms.all
    }
    left = 0
    for specs in runs.values():
        for spec in specs:
            arm_folder = ArmFolder(Path(spec.folder))
            if arm_folder.outcome()[0] in (None, Outcome.FAILED):
                left += spec.num_epochs - len(arm_folder.trial.reports())
    return ConfirmationPlan(arms=arms, seeds=seeds, runs=runs, num_epochs=left)


def run_confirmation(
    folder: StudyFolder,
    plan: ConfirmationPlan,
    *,
    metric: str,
    has_test: bool,
    state: str,
    tracker: Tracker,
    listener: StudyListener,
) -> Confirmation | None:
    """Confirm the best trials of a study. What an earlier session has done is not done again.

    Args:
        folder: of the study.
        plan: see ``plan_confirmation``.
        metric: one of ``METRICS``; what gains are measured in.
        has_test: whether the experiment has a test split.
        state: of the study, for the tracker.
        tracker: is told everything. The caller closes it.
        listener: is told everything.

    Returns:
        What was found; None when a signal has stopped the session, which can be gone on with then.

    Raises:
        StudyError: another session works on the study, or nothing can be compared.
        ResourceError: the machine does not have what a trial asks for.
    """
    with folder.lock():
        identity, loaded = folder.identity(), folder.load()
        check_resources(loaded.experiment.resources, simulate=identity.simulate)
        own = folder.confirmation
        for spec in plan.specs:
            if ArmFolder(Path(spec.folder)).prepare(spec):
                listener.message(f"{spec.key}: was trained under other settings and is trained again")
        tracker.start_study(*describe_study(loaded, identity, num_trials=folder.num_trials(loaded.experiment)))
        follower = Follower(plan.specs, metric=identity.metric, tracker=tracker, listener=listener)
        try:
            with stop_on_signals() as should_stop:

                def work(specs: Sequence[TrialSpec], split: Literal["search", "test"]) -> None:
                    jobs = _jobs(specs, split, plan.seeds, simulate=identity.simulate)
                    _run_jobs(jobs, identity, loaded.experiment, should_stop=should_stop, heard=follower.follow)

                recorded = _recorded(own, plan, metric, has_test=has_test, simulate=identity.simulate)
                if recorded is not None:
                    return recorded
                work(plan.specs, "search")
                if should_stop():
                    return None
                for job in _jobs(plan.specs, "search", plan.seeds, simulate=identity.simulate):
                    job.fail("left no student behind")
                follower.follow()
                ranking = rank_candidates(plan.arms, plan.runs, metric)
                test, other_looks = None, 0
                if has_test:
                    pair = _pair(plan, ranking[0])
                    look = Look(trial=ranking[0].number, seeds=tuple(sorted(spec.seed for spec in pair[0])))
                    other_looks = own.note_look(look)
                    work([*pair[0], *pair[1]], "test")
                    if should_stop():
                        return None
                    scored = [resample_runs(tables_of(runs, "test"), metric) for runs in pair]
                    test = measure_gain(*scored)
                found = _conclude(folder, plan, ranking, metric, test, other_looks)
                _tell(folder, found, tracker)
                own.write(found)
                tracker.log_file(None, own.record_file, "report")
                return found
        finally:
            follower.interrupt()
            tracker.end_study(state)


def _jobs(
    specs: Sequence[TrialSpec], split: Literal["search", "test"], seeds: Sequence[int], *, simulate: bool
) -> list[SeedJob]:
    by_seed = {seed: tuple(spec for spec in specs if spec.seed == seed) for seed in seeds}
    return [SeedJob(specs=chosen, simulate=simulate, split=split) for chosen in by_seed.values() if chosen]


def _run_jobs(
    jobs: Sequence[SeedJob],
    identity: StudyIdentity,
    experiment: Experiment,
    *,
    should_stop: Callable[[], bool],
    heard: Callable[[], None],
) -> None:
    left = [job for job in jobs if not job.is_done]
    if identity.runner == "local" or not left:
        run_jobs_locally(left, should_stop=should_stop, heard=heard)
    else:
        run_jobs_on_ray(left, experiment.resources, simulate=identity.simulate, should_stop=should_stop, heard=heard)


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
    other_looks: int,
) -> Confirmation:
    winner = ranking[0]
    best = best_run(plan.runs[str(winner.number)], metric)
    weights = ArmFolder(Path(best.folder)).trial.best_checkpoint
    return Confirmation(
        metric=metric,
        seeds=plan.seeds,
        candidates=tuple(ranking),
        winner=winner.number,
        test=test,
        other_looks=other_looks,
        best_seed=best.seed,
        weights=str(weights.relative_to(folder.path)),
    )


def _recorded(
    own: ConfirmationFolder, plan: ConfirmationPlan, metric: str, *, has_test: bool, simulate: bool
) -> Confirmation | None:
    """The outcome on record, if it is of this very plan and nothing is left to do."""
    found = own.read()
    if found is None or (found.seeds, found.metric, found.test is not None) != (plan.seeds, metric, has_test):
        return None
    is_same = {arm.number for arm in plan.arms.trials} == {candidate.number for candidate in found.candidates}
    jobs = _jobs(plan.specs, "search", plan.seeds, simulate=simulate)
    return found if is_same and all(job.is_done for job in jobs) else None


def _tell(folder: StudyFolder, found: Confirmation, tracker: Tracker) -> None:
    """Figures, tags and the picture of the outcome, for the study's own run."""
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
        "verdict": describe_gain(final),
        "confirmed_trial": str(found.winner),
        "confirmed_on": found.split,
        "confirmed_seeds": str(final.num_seeds),
    }
    tracker.log_study(figures, tags)
    tracker.log_file(None, draw_confirmation(folder, found), "report")
    weights = folder.path / found.weights
    if weights.is_file():
        tracker.log_file(None, weights, "student")
