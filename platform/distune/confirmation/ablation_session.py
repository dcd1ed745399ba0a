"""A session of an ablation: trains missing runs, and compares the trial with itself without each term."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from distune.confirmation.ablation_plan import AblationPlan
from distune.confirmation.arms_training import ArmsTraining
from distune.confirmation.joint_training import JobContext
from distune.confirmation.ranking import failures_of, stop_without_runs, tables_of
from distune.confirmation.reporter import ConfirmationReporter
from distune.evidence.ablation_result import AblationResult, adjust
from distune.evidence.gain import Gain, measure_gain
from distune.evidence.resampling import resample_runs
from distune.records import TrialSpec
from distune.study.callback import StudyCallback
from distune.study.files.settings_diff import describe_changes
from distune.study.files.study_folder import StudyFolder
from distune.study.resources import check_resources
from distune.study.runners.ray_loss import ray_loss_reported
from distune.study.runners.signals import stop_on_signals
from distune.study.session import describe_study
from distune.study.settings_update import update_settings
from distune.study.storage.optuna_storage import STORAGE_ERRORS, stopped_error
from distune.tracking.tracker import Tracker

_COMMAND = "explain --ablate"


def run_ablation(
    folder: StudyFolder,
    plan: AblationPlan,
    *,
    metric: str,
    state: str,
    tracker: Tracker,
    callback: StudyCallback,
    is_locked: bool = False,
) -> AblationResult | None:
    """Ablate a trial. What an earlier session or a confirmation has trained is not trained again.

    Args:
        folder: of the study.
        plan: see ``plan_ablation``.
        metric: of the effects, one of ``METRICS``.
        state: of the study, for the tracker.
        tracker: receives every event. The caller closes it.
        callback: receives every event.
        is_locked: whether the caller holds the lock of the study; otherwise it is held here.

    Returns:
        The result; None when a signal has stopped the session, which can be resumed then.

    Raises:
        StudyError: another session runs the study, or no run of the trial has finished.
        ResourceError: the machine does not have the resources of a trial.
        StudyStoppedError: the records cannot be written, such as on a full disk, or a server of Ray has ended. The
            session can be resumed.
    """
    try:
        with (
            ray_loss_reported(folder.name, command=_COMMAND),
            contextlib.nullcontext() if is_locked else folder.lock(),
        ):
            return _run(folder, plan, metric=metric, state=state, tracker=tracker, callback=callback)
    except STORAGE_ERRORS as error:
        raise stopped_error(folder.name, error, command=_COMMAND) from error


def _run(
    folder: StudyFolder, plan: AblationPlan, *, metric: str, state: str, tracker: Tracker, callback: StudyCallback
) -> AblationResult | None:
    loaded, identity = folder.load(), folder.identity()
    for line in describe_changes(update_settings(folder, loaded)):
        callback.on_message(line)
    check_resources(loaded.experiment.resources, simulate=identity.simulate)
    num_trials = folder.num_trials(loaded.experiment)
    tracker.start_study(*describe_study(loaded, identity, num_trials=num_trials))
    reporter = ConfirmationReporter(
        num_runs=len(plan.specs), metric=identity.metric, tracker=tracker, callback=callback
    )
    try:
        with stop_on_signals() as should_stop:
            context = JobContext(should_stop=should_stop, on_progress=reporter.report_new)
            training = ArmsTraining(identity, loaded.experiment.resources, _COMMAND)
            if not training.train(plan.specs, context, reporter):
                return None
            result = _compare(plan, metric, simulated=identity.simulate)
            if result != folder.ablation.read():
                figures = {f"ablation/{each.term}": each.effect.mean for each in result.terms if each.effect}
                tracker.log_study(figures, {"ablated_trial": str(result.trial)})
                folder.ablation.write(result)
                tracker.log_file(None, folder.ablation.record_file, "report")
            return result
    finally:
        try:
            reporter.interrupt()
        finally:
            tracker.end_study(state)


def _compare(plan: AblationPlan, metric: str, *, simulated: bool) -> AblationResult:
    if not tables_of(plan.full, "search"):
        stop_without_runs(failures_of(plan.full))
    effects = {term: _difference(plan.full, runs, metric) for term, runs in plan.without.items()}
    return AblationResult(
        metric=metric,
        trial=plan.trial,
        seeds=plan.seeds,
        gain=_difference(plan.full, plan.controls, metric),
        terms=adjust(effects, {term: failures_of(runs) for term, runs in plan.without.items()}),
        simulated=simulated,
    )


def _difference(first: Sequence[TrialSpec], second: Sequence[TrialSpec], metric: str) -> Gain | None:
    """Return the first runs minus the second ones, paired by seed; None if no seed has both."""
    tables = [tables_of(runs, "search") for runs in (first, second)]
    if not tables[0].keys() & tables[1].keys():
        return None
    return measure_gain(*(resample_runs(each, metric) for each in tables))
