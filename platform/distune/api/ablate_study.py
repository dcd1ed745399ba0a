"""Ablates the best trial of a study: prepares data and teacher, plans the runs, measures the effect of each term."""

from __future__ import annotations

from distune.api.preparation import locked_tracker, open_data, ready_teacher
from distune.api.record_runs import recorded_runs
from distune.config.home import Home
from distune.config.load import LoadedExperiment
from distune.confirmation.ablation_plan import DEFAULT_ABLATION_SEEDS, plan_ablation
from distune.confirmation.ablation_session import run_ablation
from distune.errors import StudyError
from distune.evidence.ablation_result import AblationResult
from distune.study.callback import StudyCallback
from distune.study.files.study_folder import StudyFolder
from distune.study.runners.ray_address import check_address
from distune.study.status import StudyStatus, confirmed_trial
from distune.tracking.build import check_tracking


def ablate_study(
    folder: StudyFolder,
    loaded: LoadedExperiment,
    status: StudyStatus,
    home: Home,
    *,
    seeds: int | None,
    callback: StudyCallback,
) -> AblationResult | None:
    """Ablate the best trial of a study; see ``Study.ablate``.

    Args:
        folder: of the study.
        loaded: settings of the study.
        status: of the study.
        home: keeps teachers and the MLflow store.
        seeds: number of seeds; that on record, or 3, when None.
        callback: receives the events.

    Returns:
        The result; None when a signal stopped the session.

    Raises:
        StudyError: another session runs the study, no trial has finished, it has no term, or more seeds are on record.
        ResourceError: no Ray answers at ``resources.address``.
    """
    experiment, trial = loaded.experiment, confirmed_trial(status)
    number = _num_seeds(folder, trial.number, seeds)
    check_address(experiment.resources.address, runner=folder.identity().runner)
    check_tracking(experiment.tracking, home)
    plan = plan_ablation(folder, trial, experiment, num_seeds=number, teacher_weights=None)  # errors first
    if not folder.identity().simulate:
        splits = open_data(experiment, on_message=callback.on_message)
        teacher = ready_teacher(experiment, splits, home, on_message=callback.on_message)
        plan = plan_ablation(
            folder,
            trial,
            experiment,
            num_seeds=number,
            teacher_weights=teacher.weights,
            data_fingerprint=splits.fingerprint,
        )
    callback.on_message(plan.describe())
    with locked_tracker(folder, experiment, home) as tracker:
        with recorded_runs(folder, "ablation", callback) as recorded:
            result = run_ablation(
                folder,
                plan,
                metric=experiment.search.metric,
                state=status.state,
                tracker=tracker,
                callback=recorded,
                is_locked=True,
            )
        callback.on_message("uploading remaining records to MLflow")
    return result


def _num_seeds(folder: StudyFolder, trial: int, seeds: int | None) -> int:
    recorded = folder.ablation.read()
    on_record = len(recorded.seeds) if recorded is not None and recorded.trial == trial else 0
    number = max(DEFAULT_ABLATION_SEEDS, on_record) if seeds is None else seeds
    if number < on_record:
        raise StudyError(
            f"study {folder.name}: seeds = {number} is less than the {on_record} of the ablation on record; ask for at "
            f"least {on_record}: distune explain {folder.name} --ablate --seeds {on_record}"
        )
    return number
