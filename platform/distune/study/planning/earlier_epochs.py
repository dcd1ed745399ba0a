"""Finds how long an epoch took in earlier studies of the same student, teacher and data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distune.config.experiment import Experiment
from distune.config.hashing import content_hash
from distune.config.home import Home
from distune.errors import UsageError
from distune.records import EpochReport
from distune.study.files.study_folder import StudyFolder
from distune.study.planning.study_time import EpochTime, mean_seconds
from distune.study.planning.time_plan import EpochSeconds
from distune.training.trial_folder import TrialFolder

_WHOLE = "time/epoch_s"
_SHARED = ("time/load_s", "time/teacher_s")
_PARTS = (*_SHARED, "time/student_s", "time/evaluate_s")
_MAX_STUDIES = 20
"""Number of studies that are read, the newest first."""


def earlier_epoch_seconds(home: Home, experiment: Experiment) -> EpochSeconds | None:
    """Return the seconds per epoch in the newest study whose epochs are like those of an experiment.

    Args:
        home: folder of all studies.
        experiment: see ``epoch_hash``.

    Returns:
        The mean of its latest epochs, as if each trial had trained alone; None when there is no such study. Simulated
        studies do not count.
    """
    wanted = epoch_hash(experiment)
    for folder in _newest(home):
        try:
            if folder.identity().simulate or epoch_hash(folder.load().experiment) != wanted:
                continue
        except UsageError:
            continue  # damaged, or with settings of another version
        reports, of_controls = (_reports(folder.trials, controls=each) for each in (False, True))
        student, control = mean_seconds(map(_alone, reports)), mean_seconds(map(_alone, of_controls))
        if student is not None:
            return EpochSeconds(
                student=student,
                control=control,
                source=f"in study {folder.name}",
                shared=mean_seconds(map(_shared, filter(_has_parts, reports))),
            )
    return None


def epoch_hash(experiment: Experiment) -> str:
    """Hash the settings that determine the time of an epoch, those of the distillation and of the machine excluded."""
    training, resources = experiment.training, experiment.resources
    values: dict[str, Any] = {
        "student": _detector(experiment.student.model_dump(mode="json")),
        "teacher": _detector(experiment.teacher.model_dump(mode="json")),
        "data": experiment.data.model_dump(mode="json"),
        "training": training.model_dump(mode="json", include={"batch_size", "precision"}),
        "resources": resources.model_dump(
            mode="json", include={"cpus_per_trial", "gpus_per_trial", "loader_workers", "address"}
        ),
    }
    return content_hash(values)


def _detector(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in ("weights", "backbone_weights")}


def _newest(home: Home) -> list[StudyFolder]:
    if not home.studies.is_dir():
        return []
    found = [StudyFolder(path) for path in home.studies.iterdir() if not path.name.startswith(".")]
    dated = [
        (folder.study_file.stat().st_mtime, folder.name, folder) for folder in found if folder.study_file.is_file()
    ]
    return [folder for _, _, folder in sorted(dated, key=lambda each: each[:2], reverse=True)[:_MAX_STUDIES]]


def _reports(trials: Path, *, controls: bool) -> list[EpochReport]:
    """Return the epochs whose length is on record."""
    folders = trials.iterdir() if trials.is_dir() else ()
    return [
        report
        for path in folders
        if path.name.startswith("control-") is controls
        for report in TrialFolder(path).reports()
        if report.is_finite(_WHOLE)
    ]


def _has_parts(report: EpochReport) -> bool:
    """Return whether the parts of the epoch are on record, which earlier versions did not measure."""
    return all(report.is_finite(name) for name in _PARTS)


def _alone(report: EpochReport) -> EpochTime:
    """Return the epoch as if the trial had trained alone: the epoch of a cohort has the parts of all its trials."""
    seconds = sum(report.metrics[name] for name in _PARTS) if _has_parts(report) else report.metrics[_WHOLE]
    return EpochTime(report.finished_at, seconds)


def _shared(report: EpochReport) -> EpochTime:
    """Return the part of an epoch that the trials of a cohort share."""
    return EpochTime(report.finished_at, sum(report.metrics[name] for name in _SHARED))
