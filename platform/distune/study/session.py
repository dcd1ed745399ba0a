"""A session: one process runs a study until it is finished, aborted or interrupted.

Launching and resuming are the same: a session runs the trials that have not ended.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from distune.config.experiment import Experiment
from distune.config.load import LoadedExperiment
from distune.config.metric_names import cost_names, metric_name
from distune.errors import StudyError
from distune.records import ParameterValue, TrialState, best_finished, control_score, gain_over
from distune.study.callback import StudyCallback
from distune.study.cohort_plan import most_by_memory, plan_cohorts
from distune.study.engine import StudyEngine
from distune.study.failures.failed_study import advise_after_failure, describe_failed_search
from distune.study.failures.reasons import StudyFailedError
from distune.study.files.artifacts import log_settings
from distune.study.files.settings_diff import describe_changes
from distune.study.files.study_folder import SessionNote, StudyFolder, StudyIdentity
from distune.study.preflight import check_before_start
from distune.study.runners.env_vars import RAY_IMPORT_ENVIRONMENT, environment
from distune.study.runners.local import run_locally
from distune.study.runners.ray_loss import ray_loss_reported
from distune.study.runners.signals import stop_on_signals
from distune.study.search.stored_trial import StoredTrial
from distune.study.search.trial_store import TrialStore
from distune.study.settings_update import update_settings
from distune.study.status import StudyStatus, best_trial, status_of
from distune.study.storage.optuna_storage import STORAGE_ERRORS, open_studies, stopped_error
from distune.study.storage.storage_url import damage_reported, open_storage, optuna_name
from distune.study.study_description import describe_results, study_view
from distune.study.trial_gains import gain_metric
from distune.study.trial_spec import SpecMaker
from distune.tracking.partial_line import truncate_partial_line
from distune.tracking.tracker import Tracker
from distune.training.cache_folder import remove_abandoned
from distune.version import VERSION

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SessionResult:
    """The result of a session.

    Attributes:
        state: ``finished``, or ``interrupted`` by a signal; an interrupted study can be resumed.
        reason: why the study finished with fewer trials than were asked for, None otherwise.
    """

    state: Literal["finished", "interrupted"]
    reason: str | None = None


def run_session(
    folder: StudyFolder,
    *,
    tracker: Tracker,
    callback: StudyCallback,
    teacher_weights: Path | None,
    num_trials: int | None = None,
    is_locked: bool = False,
) -> SessionResult:
    """Run a study until all its trials have ended, or a signal asks to stop.

    The first SIGINT, SIGTERM or SIGHUP interrupts the session, and running trials stay resumable. The second one ends
    the process at once; epochs that are not complete are lost.

    Args:
        folder: of the study, see ``create_study``.
        tracker: receives every event. The caller closes it.
        callback: receives every event.
        teacher_weights: file of the teacher's weights; None when the study is simulated.
        num_trials: number of searched trials over all sessions. Defaults to that of the session before, and in the
            first one to that of the experiment.
        is_locked: whether the caller holds the lock of the study; otherwise it is held here.

    Returns:
        The state of the study.

    Raises:
        StudyError: another session runs the study, the teacher's weights are missing, or the files of the study were
            edited in a way that makes its trials incomparable.
        StudyFailedError: no trial has finished, because they failed, or too many in a row failed for the same reason.
        StudyStoppedError: the records cannot be written, such as on a full disk. The study can be resumed.
        ResourceError: the machine does not have the resources of a trial, or a package of the sampler is missing.
    """
    try:
        with ray_loss_reported(folder.name), contextlib.nullcontext() if is_locked else folder.lock():
            ended, blocking_error = _work(folder, tracker, callback, teacher_weights, num_trials)
    except STORAGE_ERRORS as error:
        raise stopped_error(folder.name, error) from error
    if blocking_error is not None:
        raise stopped_error(folder.name, blocking_error)
    return SessionResult(state="finished" if ended.state == "finished" else "interrupted", reason=ended.reason)


def _work(
    folder: StudyFolder,
    tracker: Tracker,
    callback: StudyCallback,
    teacher_weights: Path | None,
    num_trials: int | None,
) -> tuple[SessionNote, str | None]:
    """Run a session under the study's lock. Return its note and the blocking error that ended it."""
    identity, loaded = folder.identity(), folder.load()
    check_before_start(loaded.experiment, simulate=identity.simulate)
    for line in describe_changes(update_settings(folder, loaded)):
        callback.on_message(line)
    if teacher_weights is None and not identity.simulate:
        raise StudyError(f"study {folder.name} is not simulated and needs the teacher's weights")
    total = folder.num_trials(loaded.experiment) if num_trials is None else num_trials
    tracker.start_study(*describe_study(loaded, identity, num_trials=total))
    before = folder.session()
    note = SessionNote(state="running", num_trials=total, started_at=time.time())
    ended = dataclasses.replace(note, state="interrupted")
    try:
        log_settings(folder, loaded.experiment, tracker)
        folder.write_session(note)
        setting = loaded.experiment.search.storage
        truncate_partial_line(folder.journal)
        with stop_on_signals() as should_stop, open_storage(folder, setting) as storage:
            with damage_reported(folder, setting):
                search_study, control_study = open_studies(storage, optuna_name(identity, setting))
                trial_store = TrialStore(storage, search_study, control_study)
                view = study_view(loaded, trial_store.trials())
            specs = SpecMaker(
                study=folder.name,
                experiment=loaded.experiment,
                trials_folder=folder.trials,
                teacher_weights=None if teacher_weights is None else str(teacher_weights),
            )
            tracker.log_view(view)
            trial_store.describe_study([metric_name(loaded.experiment), *cost_names(loaded.experiment)], {})
            engine = StudyEngine(loaded, trial_store, specs, num_trials=total, tracker=tracker, callback=callback)
            callback.on_session_start(engine.num_remaining)
            ended = _run(engine, loaded.experiment, identity, note, should_stop, callback)
            known = trial_store.trials()
            ended = _as_failed(ended, known)
            status = status_of(folder, loaded, known, is_running=False)
            status = dataclasses.replace(status, state=ended.state, reason=ended.reason)
            if study_view(loaded, known) != view:
                tracker.log_view(study_view(loaded, known))
            _report_best(status, tracker, trial_store)
            _report_gains(status, tracker)
            _report_failure(ended, before, tracker)
            description = describe_results(status, loaded)
            tracker.describe(description.headline, description.note)
    finally:
        if teacher_weights is not None:
            remove_abandoned(teacher_weights.parent)  # files of workers that were ended
        tracker.end_study(ended.state)
        _write_note(folder, ended)
    if engine.failure is not None:
        raise StudyFailedError(
            f"study {folder.name} was aborted: {ended.reason}; fix the cause, then run: distune resume {folder.name}"
        )
    if ended.state == "failed":
        num_searched = sum(trial.number >= 0 for trial in known)
        raise StudyFailedError(
            f"study {folder.name} failed: {ended.reason}; {advise_after_failure(folder.name, num_searched)}"
        )
    return ended, engine.blocking_error


def _as_failed(ended: SessionNote, known: list[StoredTrial]) -> SessionNote:
    """Return the note of a study that has failed, if all trials have ended and none of them has finished."""
    reason = describe_failed_search(known) if ended.state == "finished" else None
    return ended if reason is None else dataclasses.replace(ended, state="failed", reason=reason)


def _write_note(folder: StudyFolder, note: SessionNote) -> None:
    """Write the note of the session. A full disk is no error here: the records of the trials are enough to resume."""
    try:
        folder.write_session(note)
    except OSError as error:
        _LOG.warning("%s cannot be written: %s", folder.session_file, error)


def describe_study(
    loaded: LoadedExperiment, identity: StudyIdentity, *, num_trials: int
) -> tuple[dict[str, ParameterValue], dict[str, str]]:
    """Return the main settings and the tags of a study, for its tracker."""
    experiment = loaded.experiment
    params: dict[str, ParameterValue] = {
        "data.kind": experiment.data.kind,
        "teacher": f"{experiment.teacher.family} {experiment.teacher.backbone}",
        "student": f"{experiment.student.family} {experiment.student.backbone}",
        "distillation.preset": experiment.distillation.preset,
        "training.epochs": experiment.training.epochs,
        "training.seed": experiment.training.seed,
        "search.space": loaded.space.name,
        "search.metric": experiment.search.metric,
        **({"search.costs": ", ".join(experiment.search.costs)} if experiment.search.costs else {}),
        "search.sampler": experiment.search.sampler.kind,
        "search.scheduler": experiment.search.scheduler.kind,
        "search.controls": experiment.search.controls,
    }
    tags = {
        "study": identity.name,
        "experiment": experiment.name,
        "simulated": str(identity.simulate).lower(),
        "runner": identity.runner,
        "num_trials": str(num_trials),
        "distune_version": VERSION,
    }
    return params, tags


def _run(
    engine: StudyEngine,
    experiment: Experiment,
    identity: StudyIdentity,
    note: SessionNote,
    should_stop: Callable[[], bool],
    callback: StudyCallback,
) -> SessionNote:
    """Run the trials, then interrupt those that still run. Return the note of the session."""
    is_finished = False
    try:
        with contextlib.suppress(KeyboardInterrupt):
            if identity.runner == "local":
                run_locally(
                    engine,
                    cohort_size=plan_cohorts(
                        experiment.resources,
                        num_trials=note.num_trials,
                        num_workers=1,
                        simulate=identity.simulate,
                        most_by_memory=most_by_memory(experiment),
                    ).num_trials,
                    simulate=identity.simulate,
                    should_stop=should_stop,
                    callback=callback,
                )
            else:
                with environment(RAY_IMPORT_ENVIRONMENT):
                    from distune.study.runners.ray_tune import run_on_ray  # takes a second to load

                run_on_ray(
                    engine,
                    experiment.resources,
                    num_trials=note.num_trials,
                    most_by_memory=most_by_memory(experiment),
                    simulate=identity.simulate,
                    should_stop=should_stop,
                    callback=callback,
                )
        is_finished = engine.is_done
    finally:
        engine.interrupt()
    if engine.failure is not None:
        return dataclasses.replace(note, state="failed", reason=engine.failure)
    reason = engine.exhausted if is_finished else None
    return dataclasses.replace(note, state="finished" if is_finished else "interrupted", reason=reason)


def _report_failure(ended: SessionNote, before: SessionNote | None, tracker: Tracker) -> None:
    """Log why the study failed; empty when it failed in the session before and does not any more."""
    if ended.state == "failed":
        tracker.log_study({}, {"reason": ended.reason or ""})
    elif before is not None and before.state == "failed":
        tracker.log_study({}, {"reason": ""})


def _report_best(status: StudyStatus, tracker: Tracker, trial_store: TrialStore) -> None:
    """Log the best trial so far, and its gain."""
    if best_finished(status.trials, status.metric) is None:
        return
    winner, gain = best_trial(status)
    metrics = {status.metric: winner.metrics[status.metric]}
    if gain is not None and status.confirmation is None:  # else that one's figures stand
        metrics |= gain_metric(status.metric, gain)
    tags = {"best_trial": winner.key}
    if status.pareto_front:
        tags["pareto_front"] = ", ".join(trial.key for trial in status.pareto_front)
    tracker.log_study(metrics, tags)
    results: dict[str, str | float] = {"best_trial": winner.key, **({} if gain is None else {"best_gain": gain})}
    trial_store.describe_study([status.metric, *status.costs], results)


def _report_gains(status: StudyStatus, tracker: Tracker) -> None:
    """Log the gains of all trials over all controls; also params that runs of an earlier version lack."""
    control = control_score(status.trials, status.metric)
    for record in status.trials:
        if record.state in (TrialState.WAITING, TrialState.RUNNING):
            continue
        gain = gain_over(control, record, status.metric)
        if gain is not None or record.params:
            tracker.log_trial(record, {} if gain is None else gain_metric(status.metric, gain))
