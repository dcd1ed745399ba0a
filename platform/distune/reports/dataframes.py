"""Trials and learning curves as pandas tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from distune.records import EpochReport, TrialRecord, control_score, gain_over


def trials_dataframe(trials: Sequence[TrialRecord], metric: str) -> pd.DataFrame:
    """Return a table with a row per trial, in the manner of Optuna's ``Study.trials_dataframe``.

    Args:
        trials: searched trials and controls.
        metric: metric of the study, such as ``search/AP``.

    Returns:
        Columns ``number`` (controls are -1, -2, ...), ``key``, ``control``, ``outcome``, ``state`` (Optuna's),
        ``epochs``, ``seed``, ``value`` (the metric at the best epoch), ``gain`` (over the mean of the finished
        controls, for trials that had the whole budget), ``reason``, and ``params_PATH`` per searched parameter.
    """
    base = control_score(trials, metric)
    paths = dict.fromkeys(path for trial in trials for path in trial.params)
    rows = [
        {
            "number": trial.number,
            "key": trial.key,
            "control": trial.control,
            "outcome": str(trial.outcome),
            "state": str(trial.state),
            "epochs": trial.epochs,
            "seed": trial.seed,
            "value": trial.metrics.get(metric),
            "gain": gain_over(base, trial, metric),
            "reason": trial.reason,
            **{f"params_{path}": trial.params.get(path) for path in paths},
        }
        for trial in trials
    ]
    return pd.DataFrame(rows)


def curves_dataframe(curves: Iterable[tuple[TrialRecord, Sequence[EpochReport]]]) -> pd.DataFrame:
    """Return a table with a row per trial and epoch.

    Args:
        curves: each trial with the reports of its epochs.

    Returns:
        Columns ``number``, ``key``, ``epoch`` (from 1), and one per metric.
    """
    return pd.DataFrame(
        [
            {"number": trial.number, "key": trial.key, "epoch": report.epoch, **report.metrics}
            for trial, reports in curves
            for report in reports
        ]
    )
