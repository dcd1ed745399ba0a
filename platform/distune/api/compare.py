"""Compares students of studies: reads their settings, their best epochs and their gains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from os import PathLike

from distune.api.study_models import TEACHER, find_trial, split_student_name
from distune.config.home import Home
from distune.config.load import trial_experiment
from distune.errors import UsageError
from distune.evidence.confirmation_result import ConfirmationResult
from distune.records import control_score, gain_over
from distune.reports.student_comparison import ComparedStudent, Comparison, compare_students
from distune.study.files.study_folder import StudyFolder
from distune.study.status import StudyStatus, find_study, read_study


def compare(students: Sequence[str], *, classes: bool = False, home: str | PathLike[str] | None = None) -> Comparison:
    """Compare students: the settings in which they differ, the scores of their best epochs, and their gains.

    Args:
        students: studies such as ``quick``, which stand for their confirmed trial or else their best one, and trials
            such as ``quick/3`` and ``quick/control``; at least two.
        classes: add the AP of each class.
        home: folder of all studies; ``$DISTUNE_HOME`` or ``./runs`` when None.

    Returns:
        The comparison; ``warnings`` says whether and why figures cannot be compared.

    Raises:
        UsageError: fewer than two students are named, or one twice.
        StudyError: there is no such study or trial, or no trial of a study has finished.

    Example:
        >>> distune.compare(["quick/3", "quick/control"]).to_dataframe()
    """
    if len(students) < 2:
        raise UsageError(f"{', '.join(students) or 'nothing'}: name at least two studies or trials to compare")
    repeated = next((name for name in students if students.count(name) > 1), None)
    if repeated is not None:
        raise UsageError(f"{repeated}: is named twice")
    root, read = Home.at(home), dict[str, StudyStatus]()
    found = []
    for name in students:
        study, trial = split_student_name(name)
        folder = find_study(root, study)
        if study not in read:
            read[study] = read_study(root, study)
        found.append(_student(name, trial, folder, read[study]))
    return compare_students(found, with_classes=classes)


def _student(name: str, trial: str | None, folder: StudyFolder, status: StudyStatus) -> ComparedStudent:
    if trial == TEACHER:
        raise UsageError(f"{name}: the teacher is no trial; distune status {folder.name} shows its score")
    record = find_trial(status, trial)
    result = _confirmation_of(status, record.number)
    reports = folder.trial(record.number).reports()
    times = [report.metrics["time/epoch_s"] for report in reports if "time/epoch_s" in report.metrics]
    best = next((report.epoch for report in reports if report.finished_at == record.best_at), None)
    return ComparedStudent(
        name=name,
        trial=record.key,
        outcome=str(record.outcome),
        metric=status.metric,
        metrics={metric: value for metric, value in record.metrics.items() if math.isfinite(value)},
        best_epoch=best,
        epochs=record.epochs,
        seconds=sum(times) if times else None,
        settings=trial_experiment(folder.load().experiment, record.params, is_control=record.control),
        gain=gain_over(control_score(status.trials, status.metric), record, status.metric),
        confirmed=None if result is None else f"{result.summary}, {result.split} split",
        interval=None if result is None else (result.gain.mean, result.gain.low, result.gain.high),
        data_fingerprint=None if status.simulated else folder.data_fingerprint(),
        simulated=status.simulated,
    )


def _confirmation_of(status: StudyStatus, trial: int) -> ConfirmationResult | None:
    """Return the confirmation of a trial, None where another one or none was confirmed."""
    result = status.confirmation
    return result if result is not None and result.winner == trial else None
