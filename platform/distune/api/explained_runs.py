"""Finds the student that an explanation is about, its control under the same seed, and its teacher."""

from __future__ import annotations

import dataclasses

from distune.api.own_teacher import OwnTeacher, find_teacher, own_teacher
from distune.api.study_models import TEACHER, StudyModel, find_model
from distune.config.experiment import Experiment
from distune.config.home import Home
from distune.config.load import parse_experiment, trial_experiment
from distune.confirmation.arms import make_arms
from distune.errors import StudyError
from distune.records import Outcome, TrialRecord
from distune.study.files.study_folder import StudyFolder
from distune.study.status import StudyStatus, confirmed_trial
from distune.training.trial_folder import TrialFolder


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExplainedRuns:
    """The runs of an explanation.

    Attributes:
        record: the trial of the student; None while no trial has finished.
        student: the folder of its training; None as above.
        control: the folder of the control's training; None while none has finished.
        control_name: key of the control.
        models: ``student``, ``control`` and ``teacher``, those whose weights exist.
        own_teacher: the teacher of the student, if it is not that of the study.
        notes: reasons why weights are missing.
    """

    record: TrialRecord | None
    student: TrialFolder | None
    control: TrialFolder | None
    control_name: str
    models: dict[str, StudyModel]
    notes: tuple[str, ...]
    own_teacher: OwnTeacher | None = None

    def describe(self) -> str:
        """Return the names of student and control, and that of a teacher that is not the study's."""
        student = self.models.get("student")
        seed = "" if student is None or not student.is_confirmed else f" (seed {student.seed} of the confirmation)"
        key = "none" if self.record is None else self.record.key
        teacher = "" if self.own_teacher is None else f", teacher: {self.own_teacher.name}"
        return f"student: trial {key}{seed}, control: {self.control_name or 'none'}{teacher}"


def find_runs(folder: StudyFolder, home: Home, status: StudyStatus, experiment: Experiment) -> ExplainedRuns:
    """Find the student, its control and its teacher.

    The student is the confirmed one, and its control that of the confirmation under the same seed. Before a
    confirmation they are the best trial of the search and the first control that has finished, which has its seed.

    Args:
        folder: of the study.
        home: holds the teachers.
        status: of the study.
        experiment: of the study.

    Returns:
        The runs, as far as they exist.
    """
    record = _student(status)
    finished = [trial for trial in status.trials if trial.control and trial.outcome is Outcome.FINISHED]
    control = max(finished, key=lambda trial: trial.number, default=None)
    models: dict[str, StudyModel] = {}
    notes: list[str] = []
    wanted: dict[str, int | str | None] = {
        "student": None if record is None else record.number,
        "control": None if control is None else control.number,
    }
    for role, trial in wanted.items():
        if trial is None or status.simulated:
            continue
        try:
            models[role] = find_model(folder, home, status, trial)
        except StudyError as error:
            notes.append(str(error))
    own = ExplainedRuns(
        record=record,
        student=None if record is None else folder.trial(record.number),
        control=None if control is None else folder.trial(control.number),
        control_name="" if control is None else control.key,
        models=models,
        notes=tuple(notes),
    )
    runs = own if record is None else _confirmed(own, folder, status, experiment, record)
    return runs if status.simulated else _with_teacher(runs, folder, home, status)


def _with_teacher(runs: ExplainedRuns, folder: StudyFolder, home: Home, status: StudyStatus) -> ExplainedRuns:
    """Add the teacher that the student was distilled from."""
    training = None if runs.student is None else runs.student.path
    try:
        own = None if training is None else own_teacher(folder, home, training)
        runs = dataclasses.replace(runs, own_teacher=own)
        teacher = find_teacher(folder, home, status, training)
    except StudyError as error:
        return dataclasses.replace(runs, notes=(*runs.notes, str(error)))
    return dataclasses.replace(runs, models={**runs.models, TEACHER: teacher})


def _student(status: StudyStatus) -> TrialRecord | None:
    try:
        return confirmed_trial(status)
    except StudyError:
        return None


def _confirmed(
    runs: ExplainedRuns, folder: StudyFolder, status: StudyStatus, experiment: Experiment, record: TrialRecord
) -> ExplainedRuns:
    """Return the runs of the confirmation, if their files exist; else those of the search."""
    result = status.confirmation
    if result is None or result.winner != record.number:
        return runs
    name = result.best.control
    student = TrialFolder((folder.path / result.weights).parent)
    control = TrialFolder(folder.confirmation.path / f"seed-{result.best_seed}" / name)
    if not student.reports() or not control.reports():
        return runs
    found = dataclasses.replace(runs, student=student, control=control, control_name=f"{name}-seed-{result.best_seed}")
    if not student.best_checkpoint.is_file() or not control.best_checkpoint.is_file() or "student" not in runs.models:
        return found if status.simulated else runs
    (arm,) = make_arms([record]).controls
    values = trial_experiment(experiment, arm.params, is_control=True)
    own = runs.models["student"]
    models = {
        **runs.models,
        "student": dataclasses.replace(own, weights=student.best_checkpoint, seed=result.best_seed, is_confirmed=True),
        "control": StudyModel(
            name=found.control_name,
            weights=control.best_checkpoint,
            experiment=parse_experiment(values, source=found.control_name, saved=True),
            record=next((trial for trial in status.trials if trial.control), record),
            seed=result.best_seed,
        ),
    }
    return dataclasses.replace(found, models=models)
