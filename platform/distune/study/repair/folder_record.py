"""The record of a trial as its own folder and the spool tell it, as plain values."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distune.bounded_read import read_bounded
from distune.records import EpochReport, Outcome, ParameterValue, trial_key
from distune.study.files.artifacts import TRIAL_FILE
from distune.study.files.trial_outcome import TrialOutcome, read_outcome
from distune.training.trial_folder import TrialFolder

LOST_REASON = "settings: the records of this trial are lost"
"""Reason of a trial whose parameters are not known any more."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpoolRecord:
    """Parameters and end of a trial in the spool; None for what it does not hold."""

    params: dict[str, ParameterValue] | None = None
    ended: TrialOutcome | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class FolderRecord:
    """The record of a trial, to be written to Optuna.

    Attributes:
        number: distune's number.
        params: searched path to value; empty when they are lost.
        scores: epoch to the study's metric; NaN for the epoch in which the trial diverged.
        ended: its end, None for a trial that a session resumes.
        values: of a finished trial: its best score, then its costs.
        started_at: seconds since 1970, as far as known.
    """

    number: int
    params: dict[str, ParameterValue]
    scores: dict[int, float]
    ended: TrialOutcome | None
    values: tuple[float, ...] = ()
    started_at: float = 0.0


def read_folder_record(
    trials_folder: Path,
    number: int,
    spool: SpoolRecord,
    *,
    metric: str,
    costs: Sequence[str],
    num_epochs: int,
    simulated: bool,
) -> FolderRecord:
    """Read the record of a trial.

    Args:
        trials_folder: holds a folder per trial.
        number: distune's number of the trial.
        spool: what the spool holds about it.
        metric: of the study.
        costs: of the study.
        num_epochs: epochs of a whole trial.
        simulated: whether the study is simulated; such trials have no checkpoints.

    Returns:
        The record. A trial whose parameters are lost has failed. One of which it is not known that it has ended is to
        be resumed.
    """
    folder = TrialFolder(trials_folder / trial_key(number))
    reports = folder.reports()
    params = _params(folder.path) if number >= 0 else {}
    params = spool.params if params is None else params
    started_at = _started_at(folder, reports)
    if params is None or (number < 0 and not folder.path.is_dir()):
        lost = TrialOutcome(Outcome.FAILED, LOST_REASON, started_at)
        return FolderRecord(number=number, params={}, scores={}, ended=lost, started_at=started_at)
    ended = (
        read_outcome(folder.path)
        or spool.ended
        or _inferred(folder, reports, metric=metric, costs=costs, num_epochs=num_epochs, simulated=simulated)
    )
    diverged = {report.epoch for report in reports if report.divergence(metric) is not None}
    scores = {
        report.epoch: math.nan if report.epoch in diverged else report.metrics[metric]
        for report in reports
        if metric in report.metrics or report.epoch in diverged
    }
    values = _values(reports, metric, costs)
    if ended is not None and ended.outcome is Outcome.FINISHED and not all(map(math.isfinite, values)):
        ended = TrialOutcome(Outcome.FAILED, LOST_REASON, ended.ended_at)
    return FolderRecord(
        number=number,
        params=dict(params),
        scores=scores,
        ended=ended,
        values=values if ended is not None and ended.outcome is Outcome.FINISHED else (),
        started_at=started_at,
    )


def _params(folder: Path) -> dict[str, ParameterValue] | None:
    """Return the parameters in a trial's folder, None when its file is missing or damaged."""
    try:
        values: Any = json.loads(read_bounded(folder / TRIAL_FILE))["params"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    is_valid = isinstance(values, Mapping) and all(
        isinstance(value, str | int | float | bool | None) for value in values.values()
    )
    return dict(values) if is_valid else None


def _inferred(
    folder: TrialFolder,
    reports: Sequence[EpochReport],
    *,
    metric: str,
    costs: Sequence[str],
    num_epochs: int,
    simulated: bool,
) -> TrialOutcome | None:
    """Infer the end of a trial of an earlier version, which recorded it only in Optuna. None: resume it."""
    if not reports:
        return None
    last = reports[-1]
    reason = last.divergence(metric)
    if reason is not None:
        return TrialOutcome(Outcome.DIVERGED, reason, last.finished_at)
    if last.epoch >= num_epochs:
        is_complete = all(map(math.isfinite, _values(reports, metric, costs)))
        return TrialOutcome(Outcome.FINISHED, None, last.finished_at) if is_complete else None
    # The checkpoint of a trial is removed when the scheduler has stopped it.
    is_stopped = not simulated and not folder.last_checkpoint.exists() and not folder.previous_checkpoint.exists()
    return TrialOutcome(Outcome.STOPPED, None, last.finished_at) if is_stopped else None


def _values(reports: Sequence[EpochReport], metric: str, costs: Sequence[str]) -> tuple[float, ...]:
    """Return the best finite score and the costs in its epoch, NaN for missing ones."""
    finite = [report for report in reports if report.is_finite(metric)]
    best = max(finite, key=lambda report: report.metrics[metric], default=None)
    return tuple(math.nan if best is None else best.metrics.get(name, math.nan) for name in (metric, *costs))


def _started_at(folder: TrialFolder, reports: Sequence[EpochReport]) -> float:
    """Return when a trial started: the time of its specification, or of its first epoch; 0 when unknown."""
    known = [report.finished_at for report in reports if math.isfinite(report.finished_at)]
    with contextlib.suppress(OSError):
        known.append((folder.path / TRIAL_FILE).stat().st_mtime)
    return max(0.0, min(known, default=0.0))
