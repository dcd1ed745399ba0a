"""Runs a session of a study: preparation before it is resumed, progress, figures and sizes, and its confirmation."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from distune.api.measure_sizes import study_sizes
from distune.api.preparation import check_all_weights, check_same_data, locked_tracker, open_data, ready_teacher
from distune.api.progress import LiveTable, PlainProgress
from distune.api.report_study import write_session_report
from distune.api.study_progress import StudyProgress
from distune.config.home import Home
from distune.config.load import LoadedExperiment
from distune.confirmation.defaults import DEFAULT_TOP
from distune.errors import DistuneError, StudyError
from distune.records import Outcome
from distune.study.callback import StudyCallback
from distune.study.create import remove_unfinished
from distune.study.failures.failed_study import advise_after_failure
from distune.study.failures.reasons import StudyFailedError
from distune.study.files.settings_diff import describe_changes
from distune.study.files.study_folder import StudyFolder
from distune.study.planning.plan_text import describe_rest, has_rest
from distune.study.planning.study_clock import StudyClock
from distune.study.planning.study_plan import plan_study
from distune.study.planning.time_text import show_left
from distune.study.preflight import check_before_start
from distune.study.runners.ray_address import check_address
from distune.study.session import run_session
from distune.study.settings_update import update_settings
from distune.study.status import StudyStatus, measured_epochs, read_study, started_trials
from distune.study.storage.optuna_storage import STORAGE_ERRORS, stopped_error
from distune.study.study_figures import draw_figures
from distune.tracking.build import check_tracking
from distune.tracking.tracker import Tracker

if TYPE_CHECKING:
    from distune.training.teacher import Teacher


def prepare_to_resume(
    folder: StudyFolder, home: Home, loaded: LoadedExperiment, *, num_trials: int | None, callback: StudyCallback
) -> Teacher | None:
    """Check that a study can continue, update its settings, and make its teacher ready.

    Args:
        folder: of the study.
        home: keeps teachers and the MLflow store.
        loaded: the settings to continue with.
        num_trials: searched trials in total, over all sessions; as before when None.
        callback: receives messages.

    Returns:
        The teacher; None for a simulated study.

    Raises:
        StudyError: another session runs the study, it cannot continue with these settings, its data has changed, or
            ``num_trials`` is less than the trials that were started already.
        StudyFailedError: no trial has finished, and nothing is left to run.
        ResourceError: this machine does not have what a trial asks for, or no Ray answers at its address.
    """
    identity, experiment = folder.identity(), loaded.experiment
    check_before_start(experiment, simulate=identity.simulate)
    check_address(experiment.resources.address, runner=identity.runner)
    check_tracking(experiment.tracking, home)
    status = read_study(home, folder.name)
    num_started = sum(trial.outcome is not Outcome.WAITING for trial in status.trials if not trial.control)
    if num_trials is not None and num_trials < num_started:
        raise StudyError(
            f"study {folder.name}: {num_trials} trials were asked for in total, and {num_started} have been "
            f"started already; to run 10 more, ask for {num_started + 10}"
        )
    total = folder.num_trials(experiment) if num_trials is None else num_trials
    controls = experiment.search.controls
    if status.state == "failed" and not has_rest(status, total=total, controls=controls):
        raise StudyFailedError(
            f"study {folder.name} has failed, and nothing is left to run: {status.reason}; "
            f"{advise_after_failure(folder.name, num_started)}"
        )
    remove_unfinished(home)
    update_study_settings(folder, loaded, callback)
    callback.on_message(describe_rest(status, total=total, controls=controls))
    if identity.simulate:
        return None
    splits = open_data(experiment, on_message=callback.on_message)
    if any(trial.epochs for trial in status.trials):
        check_same_data(
            folder,
            splits,
            remedy="restore the data, or launch a new study that tries the best trials of this one first: "
            f"distune launch EXPERIMENT --name OTHER --warm-start {folder.name}",
        )
    check_all_weights(experiment, splits, download=True, on_message=callback.on_message)
    return ready_teacher(experiment, splits, home, on_message=callback.on_message)


def update_study_settings(
    folder: StudyFolder, loaded: LoadedExperiment, callback: StudyCallback, *, command: str = "resume"
) -> None:
    """Store the settings of the next session, and report the changes.

    Args:
        folder: of the study.
        loaded: the settings.
        callback: receives the changes.
        command: distune's command whose session it is.

    Raises:
        StudyError: a change is refused, another session runs the study, or Optuna's records lack trained trials.
        StudyStoppedError: the records cannot be read or written.
    """
    try:
        with folder.lock():  # nothing starts while another session works on the study
            changes = update_settings(folder, loaded)
    except STORAGE_ERRORS as error:
        raise stopped_error(folder.name, error, command=command) from error
    for line in describe_changes(changes):
        callback.on_message(line)


def run_study_session(
    folder: StudyFolder,
    home: Home,
    loaded: LoadedExperiment,
    teacher: Teacher | None,
    *,
    num_trials: int | None,
    callback: StudyCallback,
) -> None:
    """Run a session, save its figures and sizes, and confirm the study if ``search.confirm`` asks for it.

    Args:
        folder: of the study.
        home: keeps the MLflow store.
        loaded: settings of the study.
        teacher: None for a simulated study.
        num_trials: searched trials in total, over all sessions; as before when None.
        callback: receives the events.

    Raises:
        StudyError: another session runs the study.
        StudyFailedError: no trial has finished, because they failed, or too many in a row failed for the same reason.
    """
    experiment, metric = loaded.experiment, folder.identity().metric
    score = None if teacher is None else teacher.metrics.get(metric)
    with locked_tracker(folder, experiment, home) as tracker:
        folder.runs_file.unlink(missing_ok=True)  # of a confirmation that was killed
        if teacher is not None:
            folder.write_teacher(teacher.weights, teacher.metrics)
            _show_progress(folder, home, loaded, teacher, num_trials=num_trials, callback=callback)
        try:
            run_session(
                folder,
                tracker=tracker,
                callback=callback,
                teacher_weights=None if teacher is None else teacher.weights,
                num_trials=num_trials,
                is_locked=True,
            )
        except StudyFailedError:
            write_session_report(folder, home, tracker, callback.on_message, with_pictures=False)
            raise
        status = read_study(home, folder.name, is_running=False)
        of_all = None if status.teacher_unknown else score  # its line would be beside scores of other classes
        for file in (*_draw(folder, status, of_all, callback), folder.data_card_file):
            if file.is_file():
                tracker.log_file(None, file, "report")
        if status.state == "finished":
            _record_sizes(folder, loaded, status, tracker, callback)
        if score is not None:
            tracker.log_study({f"teacher/{experiment.search.metric}": score}, {})
        is_finished = status.state == "finished"
        write_session_report(folder, home, tracker, callback.on_message, with_pictures=is_finished)
        callback.on_message("uploading remaining records to MLflow")
    if experiment.search.confirm == "race" and status.state == "finished":
        _confirm(folder, home, loaded, status, callback)


def _draw(folder: StudyFolder, status: StudyStatus, score: float | None, callback: StudyCallback) -> list[Path]:
    try:
        return draw_figures(folder, status, teacher=score)
    except OSError as error:
        callback.on_message(f"report: the figures of the study cannot be saved: {error}")
        return []


def _record_sizes(
    folder: StudyFolder, loaded: LoadedExperiment, status: StudyStatus, tracker: Tracker, callback: StudyCallback
) -> None:
    """Measure the sizes of the models, unless they are known. No error ends the study."""
    try:
        if study_sizes(folder, loaded.experiment, status) is not None:
            tracker.log_file(None, folder.sizes_file, "report")
    except (DistuneError, OSError, RuntimeError) as error:
        callback.on_message(f"report: the sizes of the models cannot be measured: {error}")


def _confirm(
    folder: StudyFolder, home: Home, loaded: LoadedExperiment, status: StudyStatus, callback: StudyCallback
) -> None:
    from distune.api.confirm_study import confirm_study

    if isinstance(callback, PlainProgress | LiveTable):
        callback.follow(None)  # the search has ended
    confirm_study(
        folder,
        loaded,
        status,
        home,
        top=DEFAULT_TOP,
        seeds=None,
        teachers=1,
        metric=None,
        until_decided=True,
        max_seeds=None,
        margin=None,
        callback=callback,
    )


def _show_progress(
    folder: StudyFolder,
    home: Home,
    loaded: LoadedExperiment,
    teacher: Teacher,
    *,
    num_trials: int | None,
    callback: StudyCallback,
) -> None:
    """Let a progress display show the time left of the study and its best trial, earlier sessions included."""
    from distune.training.evaluation.predict_and_score import metric_names

    status = read_study(home, folder.name, is_running=False)
    total = folder.num_trials(loaded.experiment) if num_trials is None else num_trials
    clock = StudyClock(
        plan_study(loaded.experiment, loaded.searched, num_trials=total),
        started_trials(status.trials),
        measured_epochs({trial.number: folder.trial(trial.number).reports() for trial in status.trials}),
        started_at=folder.identity().created_at,
        session_at=time.time(),
    )
    left = show_left(clock.read(time.time()))
    if left is not None:
        callback.on_message(f"time: {left}")
    if isinstance(callback, PlainProgress | LiveTable):
        ended = {trial.key: trial for trial in status.trials if trial.outcome not in (Outcome.WAITING, Outcome.RUNNING)}
        score = teacher.metrics.get(status.metric)
        unknown = tuple(name.removeprefix("AP/") for name in metric_names(teacher.unknown_classes))
        callback.follow(StudyProgress(clock, status.metric, score, ended, unknown))
