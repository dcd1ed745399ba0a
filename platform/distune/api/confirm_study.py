"""Confirms a study: prepares data and teacher, plans the runs, and measures the gain of the chosen trial."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from distune.api.preparation import locked_tracker, open_data, ready_teacher
from distune.api.record_runs import recorded_runs
from distune.api.report_study import write_session_report
from distune.config.experiment import Experiment
from distune.config.home import Home
from distune.config.load import LoadedExperiment
from distune.confirmation.confirmation_plan import ConfirmationPlan, check_num_seeds, plan_confirmation
from distune.confirmation.confirmation_session import run_confirmation
from distune.confirmation.defaults import DEFAULT_MARGIN, DEFAULT_MAX_SEEDS, DEFAULT_SEEDS
from distune.errors import UsageError
from distune.evidence.confirmation_result import ConfirmationResult
from distune.evidence.matches import METRICS
from distune.study.callback import StudyCallback
from distune.study.files.study_folder import StudyFolder
from distune.study.runners.ray_address import check_address
from distune.study.status import StudyStatus, read_study
from distune.study.study_description import describe_results, study_view
from distune.tracking.build import check_tracking

_TEACHER_SEED_STEP = 1000
"""Between the seeds of teachers, from that of the study."""


def confirm_study(
    folder: StudyFolder,
    loaded: LoadedExperiment,
    status: StudyStatus,
    home: Home,
    *,
    top: int,
    seeds: int | None,
    teachers: int,
    metric: str | None,
    until_decided: bool,
    max_seeds: int | None,
    margin: float | None,
    callback: StudyCallback,
) -> ConfirmationResult | None:
    """Confirm the best trials of a study; see ``Study.confirm``.

    Args:
        folder: of the study.
        loaded: settings of the study.
        status: of the study.
        home: keeps teachers and the MLflow store.
        top: number of trials of which one is chosen.
        seeds: fresh seeds; those on record, or 5, when None.
        teachers: number of teachers, each trained under a seed of its own, that the seeds share in turn.
        metric: of the gains; the study's metric when None.
        until_decided: add seeds until the question is decided.
        max_seeds: most seeds then; 20 when None.
        margin: gains below it do not matter then; 0.5 points when None.
        callback: receives the events.

    Returns:
        The result; None when a signal stopped the session.

    Raises:
        StudyError: another session runs the study, no trial has finished, or more seeds are on record.
        UsageError: the metric is unknown, or the numbers of seeds do not fit.
        ResourceError: no Ray answers at ``resources.address``.
    """
    experiment = loaded.experiment
    metric = metric or experiment.search.metric
    if metric not in METRICS:
        raise UsageError(f"metric {metric}: must be one of {', '.join(METRICS)}")
    first, last = _num_seeds(folder, seeds, until_decided=until_decided, max_seeds=max_seeds, margin=margin)
    if teachers > 1:
        _check_teachers(experiment, teachers, first, until_decided=until_decided)
    check_address(experiment.resources.address, runner=folder.identity().runner)
    check_tracking(experiment.tracking, home)
    simulated = folder.identity().simulate

    def plan(
        teacher_weights: Path | None, data_fingerprint: str | None, further: Sequence[Path | None] = ()
    ) -> ConfirmationPlan:
        return plan_confirmation(
            folder,
            status,
            experiment,
            top=top,
            num_seeds=first,
            teacher_weights=teacher_weights,
            further_teachers=further,
            data_fingerprint=data_fingerprint,
            max_seeds=last,
            margin=None if last is None else DEFAULT_MARGIN if margin is None else margin,
        )

    has_test = experiment.data.has_test
    planned = plan(None, None, [None] * (teachers - 1))  # errors first: the data and the teachers may take long
    if not simulated:
        splits = open_data(experiment, on_message=callback.on_message)
        teacher = ready_teacher(experiment, splits, home, on_message=callback.on_message)
        has_test = splits.test is not None
        further = [
            ready_teacher(_with_teacher_seed(experiment, number), splits, home, on_message=callback.on_message).weights
            for number in range(1, teachers)
        ]
        planned = plan(teacher.weights, splits.fingerprint, further)
    if status.state != "finished":
        callback.on_message(f"study {folder.name} is {status.state}: its best trials so far are confirmed")
    callback.on_message(planned.describe())
    estimate = planned.describe_time(None if status.time is None else status.time.epoch_s)
    if estimate is not None:
        callback.on_message(estimate)
    with locked_tracker(folder, experiment, home) as tracker:
        tracker.log_view(study_view(loaded, status.trials))
        with recorded_runs(folder, "confirmation", callback) as recorded:
            result = run_confirmation(
                folder,
                planned,
                metric=metric,
                has_test=has_test,
                state=status.state,
                tracker=tracker,
                callback=recorded,
                is_locked=True,
            )
        if result is not None:
            write_session_report(folder, home, tracker, callback.on_message)
        description = describe_results(read_study(home, folder.name, is_running=False), loaded)
        tracker.describe(description.headline, description.note)
        callback.on_message("uploading remaining records to MLflow")
    return result


def _check_teachers(experiment: Experiment, teachers: int, seeds: int, *, until_decided: bool) -> None:
    if experiment.teacher_training is None:
        raise UsageError(f"teachers = {teachers}: the teacher is not trained here, so there is only one")
    if until_decided:
        raise UsageError(f"teachers = {teachers}: several teachers need a fixed number of seeds")
    if seeds < teachers:
        raise UsageError(f"teachers = {teachers}: each teacher needs a seed; ask for at least {teachers} seeds")


def _with_teacher_seed(experiment: Experiment, number: int) -> Experiment:
    """Return an experiment whose teacher is trained under another seed."""
    training = experiment.teacher_training
    assert training is not None
    other = training.model_copy(update={"seed": training.seed + _TEACHER_SEED_STEP * number})
    return experiment.model_copy(update={"teacher_training": other})


def _num_seeds(
    folder: StudyFolder, seeds: int | None, *, until_decided: bool, max_seeds: int | None, margin: float | None
) -> tuple[int, int | None]:
    """Return the number of seeds of the first analysis, and of the last one, None for a single analysis."""
    recorded = folder.confirmation.read()
    on_record = len(recorded.seeds) if recorded is not None else 0
    if not until_decided:
        if max_seeds is not None or margin is not None:
            raise UsageError("max_seeds and margin have no effect without until_decided (--until-decided)")
        number = max(DEFAULT_SEEDS, on_record) if seeds is None else seeds
        check_num_seeds(folder, number)
        return number, None
    # A plan starts at the seeds on record, unless these are of the plan itself.
    is_continued = recorded is not None and recorded.max_seeds is not None
    first = DEFAULT_SEEDS if seeds is None else seeds
    first = first if is_continued else max(first, on_record)
    last = max(DEFAULT_MAX_SEEDS, on_record) if max_seeds is None else max_seeds
    if not 2 <= first <= last:
        raise UsageError(
            f"seeds = {first}, max_seeds = {last}: a confirmation until it is decided needs 2 <= seeds <= max_seeds "
            "(--seeds, --max-seeds)"
        )
    check_num_seeds(folder, last)
    return first, last
