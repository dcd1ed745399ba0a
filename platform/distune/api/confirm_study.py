"""Confirms a study: prepares data and teacher, plans the runs, and measures the gain of the chosen trial."""

from __future__ import annotations

import contextlib
from pathlib import Path

from distune.api.preparation import open_data, open_tracker, ready_teacher
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
from distune.study.status import StudyStatus
from distune.tracking.build import check_tracking


def confirm_study(
    folder: StudyFolder,
    loaded: LoadedExperiment,
    status: StudyStatus,
    home: Home,
    *,
    top: int,
    seeds: int | None,
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
    check_address(experiment.resources.address, runner=folder.identity().runner)
    check_tracking(experiment.tracking, home)
    simulated = folder.identity().simulate

    def plan(teacher_weights: Path | None, data_fingerprint: str | None) -> ConfirmationPlan:
        return plan_confirmation(
            folder,
            status,
            experiment,
            top=top,
            num_seeds=first,
            teacher_weights=teacher_weights,
            data_fingerprint=data_fingerprint,
            max_seeds=last,
            margin=None if last is None else DEFAULT_MARGIN if margin is None else margin,
        )

    has_test = True
    planned = plan(None, None)  # errors first: the data and the teacher may take long
    if not simulated:
        splits = open_data(experiment, on_message=callback.on_message)
        teacher = ready_teacher(experiment, splits, home, on_message=callback.on_message)
        has_test = splits.test is not None
        planned = plan(teacher.weights, splits.fingerprint)
    if status.state != "finished":
        callback.on_message(f"study {folder.name} is {status.state}: its best trials so far are confirmed")
    callback.on_message(planned.describe())
    with contextlib.closing(open_tracker(folder, experiment, home)) as tracker:
        result = run_confirmation(
            folder, planned, metric=metric, has_test=has_test, state=status.state, tracker=tracker, callback=callback
        )
        callback.on_message("uploading remaining records to MLflow")
    return result


def _num_seeds(
    folder: StudyFolder, seeds: int | None, *, until_decided: bool, max_seeds: int | None, margin: float | None
) -> tuple[int, int | None]:
    """Return the number of seeds of the first analysis, and of the last one, None for a single analysis."""
    if not until_decided:
        if max_seeds is not None or margin is not None:
            raise UsageError("the largest number of seeds and the margin belong to a confirmation until it is decided")
        recorded = folder.confirmation.read()
        number = max(DEFAULT_SEEDS, len(recorded.seeds) if recorded is not None else 0) if seeds is None else seeds
        check_num_seeds(folder, number)
        return number, None
    first, last = seeds or DEFAULT_SEEDS, DEFAULT_MAX_SEEDS if max_seeds is None else max_seeds
    if not 2 <= first <= last:
        raise UsageError(f"a confirmation until it is decided needs 2 <= seeds <= most seeds, not {first} and {last}")
    check_num_seeds(folder, last)
    return first, last
