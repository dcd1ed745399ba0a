"""Trains a trial of a study again, alone and on the same batches: its result must be the same."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from distune.api.preparation import open_data
from distune.api.study_models import TEACHER, StudyModel, find_model, find_trial
from distune.config.home import Home
from distune.config.load import parse_experiment
from distune.errors import StudyError, UsageError
from distune.records import EpochReport, Outcome, TrialRecord, TrialSpec
from distune.study.callback import Decision, StudyCallback
from distune.study.files.artifacts import write_trial_file
from distune.study.files.study_folder import StudyFolder
from distune.study.status import StudyStatus
from distune.study.trial_progress import TrialProgress
from distune.study.trial_spec import SpecMaker
from distune.training.trial_folder import TrialFolder


@dataclasses.dataclass(frozen=True, kw_only=True)
class RepeatedTrial:
    """A trial that was trained again.

    Attributes:
        name: key of the trial.
        folder: of the new training.
        num_epochs: epochs that were trained, those that the trial has on record.
        largest_difference: between the recorded and the repeated metric of an epoch, in points; 0 if they are equal.
        metric: that was compared, such as ``search/AP``.
    """

    name: str
    folder: Path
    num_epochs: int
    largest_difference: float
    metric: str


def repeat_trial(
    folder: StudyFolder,
    home: Home,
    status: StudyStatus,
    trial: int | str | None,
    *,
    output: Path | None,
    callback: StudyCallback,
) -> RepeatedTrial:
    """Train a trial again; see ``Study.repeat_trial``.

    Args:
        folder: of the study.
        home: holds the teacher.
        status: of the study.
        trial: number or key of the trial; None is the best one.
        output: new folder; ``HOME/trained/STUDY-TRIAL`` when None.
        callback: receives the events.

    Returns:
        The new training, and how far it is from the recorded one.

    Raises:
        StudyError: the study is simulated, there is no such trial, or it has no epoch on record.
        UsageError: the folder is not empty.
    """
    from distune.training.cohort import STREAM_EPOCH
    from distune.training.open_run import open_run

    record = find_trial(status, trial)
    if status.simulated:
        raise StudyError(f"study {status.study}: there is nothing to repeat: it is simulated, so nothing was trained")
    recorded = folder.trial(record.number).reports()
    if not recorded:
        raise StudyError(f"study {status.study}: trial {record.key} ({record.outcome}) has no epoch on record")
    target = home.root / "trained" / f"{status.study}-{record.key}" if output is None else output
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} is not empty; name a new folder with --out")
    spec = _spec_of(folder, home, status, record, target)
    open_data(parse_experiment(spec.experiment, source=f"trial {record.key}"), on_message=callback.on_message)
    write_trial_file(spec)
    stream_epochs = [int(report.metrics.get(STREAM_EPOCH, report.epoch)) - 1 for report in recorded]
    progress = TrialProgress(spec, spec.metric)
    callback.on_trial_start(spec)
    run = open_run(spec, stream_epochs=stream_epochs)
    try:
        for known in recorded:
            report = run.run_epoch()
            progress.add_epoch(report)
            callback.on_epoch_end(spec, report, Decision.STOP if known is recorded[-1] else Decision.CONTINUE)
    finally:
        run.close()
    callback.on_trial_end(progress.record(Outcome.FINISHED))
    return RepeatedTrial(
        name=record.key,
        folder=target,
        num_epochs=len(recorded),
        largest_difference=_largest_difference(recorded, TrialFolder(target).reports(), spec.metric),
        metric=spec.metric,
    )


def _spec_of(folder: StudyFolder, home: Home, status: StudyStatus, record: TrialRecord, target: Path) -> TrialSpec:
    experiment = folder.load().experiment
    teacher: StudyModel | None = None
    if not record.control and experiment.distillation.is_active:
        teacher = find_model(folder, home, status, TEACHER)
    maker = SpecMaker(
        study=status.study,
        experiment=experiment,
        trials_folder=target.parent,
        teacher_weights=None if teacher is None else str(teacher.weights),
    )
    spec, problem = maker.make(record.number, record.params)
    if problem is not None:
        raise StudyError(f"study {status.study}: trial {record.key} cannot be repeated: {problem}")
    return dataclasses.replace(spec, folder=str(target))


def _largest_difference(recorded: list[EpochReport], repeated: list[EpochReport], metric: str) -> float:
    again = {report.epoch: report.metrics[metric] for report in repeated}
    return max(abs(report.metrics[metric] - again[report.epoch]) for report in recorded)
