"""Trains a trial of a study again, alone and on the same batches: its result must be the same."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

from distune.api.preparation import check_same_data, open_data
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
        largest_difference: between the recorded and the repeated metric of an epoch, in points; 0 if they are equal,
            also in the epoch in which both diverged, and infinite if only one of them did.
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
    experiment = parse_experiment(spec.experiment, source=f"trial {record.key}")
    splits = open_data(experiment, on_message=callback.on_message)
    check_same_data(folder, splits, remedy=f"trial {record.key} cannot be repeated on it")
    write_trial_file(spec)
    # An epoch whose record is damaged was the stream's next one.
    stream_epochs: list[int] = []
    known = {report.epoch: report for report in recorded}
    for epoch in range(1, recorded[-1].epoch + 1):
        following = stream_epochs[-1] + 1 if stream_epochs else 0
        at = known[epoch].metrics.get(STREAM_EPOCH, epoch) - 1 if epoch in known else following
        stream_epochs.append(int(at))
    progress = TrialProgress(spec, spec.metric)
    callback.on_trial_start(spec)
    run = open_run(spec, stream_epochs=stream_epochs)
    try:
        for epoch in range(1, len(stream_epochs) + 1):
            report = run.run_epoch()
            progress.add_epoch(report)
            is_last = epoch == len(stream_epochs)
            callback.on_epoch_end(spec, report, Decision.STOP if is_last else Decision.CONTINUE)
    finally:
        run.close()
    callback.on_trial_end(progress.record(Outcome.FINISHED))
    return RepeatedTrial(
        name=record.key,
        folder=target,
        num_epochs=len(stream_epochs),
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
    """Return the largest difference of an epoch's metric; infinite where one of both has none, since it diverged."""
    again = {report.epoch: report for report in repeated}
    pairs = [(report, again[report.epoch]) for report in recorded]
    both = [pair for pair in pairs if all(each.is_finite(metric) for each in pair)]
    if any(first.is_finite(metric) != second.is_finite(metric) for first, second in pairs):
        return math.inf
    return max((abs(first.metrics[metric] - second.metrics[metric]) for first, second in both), default=0.0)
