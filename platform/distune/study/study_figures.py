"""Figures of a study: learning curves with ranking, and the Pareto front."""

from __future__ import annotations

import math
from pathlib import Path

from distune.records import Outcome
from distune.reports.pareto_plot import ParetoPoint, plot_pareto_front
from distune.reports.plots import Curve, draw_study, save_figure
from distune.study.files.study_folder import StudyFolder
from distune.study.status import StudyStatus


def draw_pareto_front(folder: StudyFolder, status: StudyStatus) -> Path | None:
    """Draw ``report/pareto_front.png`` in the study's folder: metric against costs of finished trials and controls.

    Args:
        folder: of the study.
        status: of the study.

    Returns:
        Path of the figure; None for a study without costs, and while no trial has finished.
    """
    non_dominated = {trial.number for trial in status.pareto_front}
    points = [
        ParetoPoint(
            trial.key,
            trial.metrics[status.metric],
            [trial.metrics[cost] for cost in status.costs],
            trial.control,
            trial.number in non_dominated,
        )
        for trial in status.trials
        if trial.outcome is Outcome.FINISHED and all(cost in trial.metrics for cost in status.costs)
    ]
    if not non_dominated:
        return None
    figure = plot_pareto_front(points, title=status.title, metric=status.metric, costs=status.costs)
    path = folder.path / "report" / "pareto_front.png"
    save_figure(figure, path)
    return path


def draw_summary(folder: StudyFolder, status: StudyStatus, *, teacher: float | None) -> Path | None:
    """Draw ``report/study.png`` in the study's folder: the learning curves of all trials and their ranking.

    Args:
        folder: of the study.
        status: of the study.
        teacher: the teacher's value of the study's metric, None without a teacher.

    Returns:
        Path of the figure; None while no trial has a score.
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


def draw_figures(folder: StudyFolder, status: StudyStatus, *, teacher: float | None) -> list[Path]:
    """Draw all figures of a study; see ``draw_summary`` and ``draw_pareto_front``.

    Args:
        folder: of the study.
        status: of the study.
        teacher: the teacher's value of the study's metric, None without a teacher.

    Returns:
        Paths of the figures; empty while no trial has a score.
    """
    figures = (draw_summary(folder, status, teacher=teacher), draw_pareto_front(folder, status))
    return [figure for figure in figures if figure is not None]
