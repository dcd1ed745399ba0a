"""The picture of a study: curves and ranking, drawn from what its trials have on record."""

from __future__ import annotations

import math
from pathlib import Path

from distune.records import Outcome
from distune.reports.pareto_plot import ParetoPoint, draw_pareto_front
from distune.reports.plots import Curve, draw_study, save_figure
from distune.study.files.study_folder import StudyFolder
from distune.study.status import StudyStatus


def draw_front_of(folder: StudyFolder, status: StudyStatus) -> Path | None:
    """Draw ``report/front.png`` in the study's folder: metric against costs, finished trials and controls.

    Returns:
        The file; None for a study without costs, and while no trial has finished.
    """
    front = {trial.number for trial in status.front}
    points = [
        ParetoPoint(
            trial.key,
            trial.metrics[status.metric],
            [trial.metrics[cost] for cost in status.costs],
            trial.control,
            trial.number in front,
        )
        for trial in status.trials
        if trial.outcome is Outcome.FINISHED and all(cost in trial.metrics for cost in status.costs)
    ]
    if not front:
        return None
    figure = draw_pareto_front(points, title=status.title, metric=status.metric, costs=status.costs)
    path = folder.path / "report" / "front.png"
    save_figure(figure, path)
    return path


def draw_summary(folder: StudyFolder, status: StudyStatus, *, teacher: float | None) -> Path | None:
    """Draw ``report/study.png`` in the study's folder.

    Args:
        folder: of the study.
        status: how it stands.
        teacher: the teacher's value of the study's metric, None when there is no teacher.

    Returns:
        The file; None while no trial has a score.
    """
    curves = []
    for record in status.trials:
        scores = [
            (report.epoch, report.metrics[status.metric])
            for report in folder.trial(record.number).reports()
            if math.isfinite(report.metrics.get(status.metric, math.nan))
        ]
        if scores:
            epochs, values = zip(*scores, strict=True)
            curves.append(Curve(record.key, record.outcome, record.control, epochs, values))
    if not curves:
        return None
    figure = draw_study(curves, title=status.title, metric=status.metric, teacher=teacher)
    path = folder.path / "report" / "study.png"
    save_figure(figure, path)
    return path
