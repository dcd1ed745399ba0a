"""Explains a study: the checks of its records and detections, and the tables that show where its gain is."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from distune.api.explained_runs import ExplainedRuns, find_runs
from distune.api.preparation import OnMessage, open_data
from distune.config.experiment import Experiment
from distune.config.home import Home
from distune.config.load import trial_experiment
from distune.confirmation.confirmation_text import headline, unconfirmed
from distune.errors import ConfigError, DataError, StudyError, WeightsError
from distune.evidence.score_differences import ScoreDifference, recorded_differences
from distune.evidence.shared_classes import score_without, unknown_classes
from distune.explanation.ablation_table import ablation_table
from distune.explanation.checks import run_checks
from distune.explanation.explanation import Explanation, ExplanationTable, problems_first
from distune.explanation.gain_tables import score_table
from distune.explanation.study_evidence import RunEvidence, StudyEvidence
from distune.records import Outcome
from distune.study.files.study_folder import StudyFolder
from distune.study.status import StudyStatus, best_trial
from distune.study.trial_progress import best_epoch
from distune.training.trial_folder import TrialFolder

if TYPE_CHECKING:
    from distune.api.split_measurement import SplitMeasurement


def explain_study(
    folder: StudyFolder, home: Home, status: StudyStatus, *, on_message: OnMessage, max_images: int | None = None
) -> Explanation:
    """Explain why distillation helped or did not; see ``Study.explain``.

    The test split is never used.

    Args:
        folder: of the study.
        home: holds the teachers.
        status: of the study.
        on_message: receives messages about the data and the detections that are computed.
        max_images: run no detector if the search split has more images; None always runs them.

    Returns:
        The explanation. Whatever the study does not hold is unknown in it.
    """
    experiment = folder.load().experiment
    runs = find_runs(folder, home, status, experiment)
    measured, notes = _measure(folder, runs, experiment, on_message, max_images)
    evidence = _evidence(folder, status, experiment, runs, measured)
    tables: list[ExplanationTable] = []
    if measured is not None:
        table = score_table(
            measured.student_lead,
            measured.teacher_lead,
            runs=runs.describe(),
            unknown_classes=evidence.unknown_classes,
            shared=measured.shared,
        )
        tables = [table, *measured.tables]
    elif evidence.student is not None and evidence.control is not None and not status.simulated:
        lead = recorded_differences(evidence.student.best, evidence.control.best)
        tables = [
            score_table(
                lead,
                evidence.teacher_lead,
                runs=runs.describe(),
                unknown_classes=evidence.unknown_classes,
                shared=_recorded_shared(evidence.student.best, evidence.control.best, evidence.unknown_classes),
            )
        ]
    ablation = folder.ablation.read()
    if ablation is not None:
        tables.append(ablation_table(ablation))
    return Explanation(
        study=status.study,
        simulated=status.simulated,
        summary=_summary(status),
        findings=problems_first(run_checks(evidence)),
        tables=tuple(tables),
        notes=(*runs.notes, *notes),
    )


def _measure(
    folder: StudyFolder, runs: ExplainedRuns, experiment: Experiment, on_message: OnMessage, max_images: int | None
) -> tuple[SplitMeasurement | None, list[str]]:
    """Run the detectors on the search split; None with the reason if that is not possible."""
    if not {"student", "control"} <= runs.models.keys():
        return None, []
    from distune.api.split_measurement import measure_split

    try:
        splits = open_data(experiment, on_message=on_message, decode=False)
        if max_images is not None and len(splits.search) > max_images:
            return None, [
                f"nothing was detected: the search split has more than {max_images} images; distune explain and "
                "distune report take the time that it needs"
            ]
        return measure_split(folder, runs.models, splits, on_message=on_message), []
    except (DataError, WeightsError, StudyError) as error:
        return None, [f"nothing was detected: {error}"]


def _evidence(
    folder: StudyFolder,
    status: StudyStatus,
    experiment: Experiment,
    runs: ExplainedRuns,
    measured: SplitMeasurement | None,
) -> StudyEvidence:
    teacher = _teacher_metrics(folder, runs)
    own = StudyEvidence(
        study=status.study,
        metric=status.metric,
        simulated=status.simulated,
        trials=tuple(status.trials),
        num_epochs=experiment.training.epochs,
        confirmation=status.confirmation,
        control_scores=_control_scores(folder, status),
        teacher="the teacher" if runs.own_teacher is None else runs.own_teacher.name,
    )
    if runs.record is None or runs.student is None:
        return own
    try:
        distillation = trial_experiment(experiment, runs.record.params)["distillation"]
    except ConfigError:  # of an earlier version that allowed these values
        distillation = {}
    student = _run(runs.student, runs.record.key, status.metric)
    control = None if runs.control is None else _run(runs.control, runs.control_name, status.metric)
    recorded = {} if control is None else recorded_differences(teacher, control.best)
    return dataclasses.replace(
        own,
        distillation=distillation,
        student=student,
        control=control,
        teacher_lead=recorded if measured is None or not measured.teacher_lead else measured.teacher_lead,
        unknown_classes=() if control is None else unknown_classes(teacher, control.best),
        split=None if measured is None else measured.evidence,
    )


def _teacher_metrics(folder: StudyFolder, runs: ExplainedRuns) -> dict[str, float]:
    """Return the recorded metrics of the student's teacher; none where they are not known."""
    if runs.own_teacher is not None:
        return runs.own_teacher.metrics
    teacher = folder.teacher()
    return {} if teacher is None else teacher.metrics


def _recorded_shared(
    student: Mapping[str, float], control: Mapping[str, float], unknown: Sequence[str]
) -> ScoreDifference | None:
    """Return the AP of student and control on the classes that the teacher knows."""
    first, second = (score_without(metrics, "search/AP", unknown) for metrics in (student, control))
    return None if first is None or second is None else ScoreDifference(first=first, second=second)


def _run(folder: TrialFolder, name: str, metric: str) -> RunEvidence:
    reports = folder.reports()
    best = best_epoch(reports, metric)
    return RunEvidence(
        name=name,
        epochs=tuple(_finite(each.metrics) for each in reports),
        best={} if best is None else _finite(best.metrics),
    )


def _finite(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def _control_scores(folder: StudyFolder, status: StudyStatus) -> tuple[float, ...]:
    """Return the best scores of controls that differ in their seed alone: of the search, or of the confirmation."""
    searched = [
        trial.metrics[status.metric] for trial in status.trials if trial.control and trial.outcome is Outcome.FINISHED
    ]
    result = status.confirmation
    if result is None:
        return tuple(searched)
    folders = [folder.confirmation.path / f"seed-{seed}" / result.best.control for seed in result.gain.by_seed]
    confirmed = [
        best.metrics[status.metric]
        for path in folders
        if (best := best_epoch(TrialFolder(path).reports(), status.metric)) is not None
    ]
    return tuple(confirmed if len(confirmed) >= len(searched) else searched)


def _summary(status: StudyStatus) -> str:
    if status.confirmation is not None:
        return headline(status.confirmation)
    try:
        leader, gain = best_trial(status)
    except StudyError as error:
        return str(error)
    return f"best trial {leader.key}, {unconfirmed(status, gain)}"
