"""Assertions about a study after kills and interruptions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from distune.config.home import Home
from distune.records import Outcome, TrialState
from distune.study.files.study_folder import StudyFolder
from distune.study.status import StudyStatus, read_study
from distune.tracking.mlflow_client import find_study_runs, open_client
from distune.tracking.run_names import experiment_name

PRELOADED = [
    "distune.cli.main",
    "distune.study.study_figures",
    "mlflow.tracking.client",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.db.utils",
    "optuna.storages._rdb.storage",
    "matplotlib.backends.backend_agg",
    "scipy.stats",
]
"""Modules that a session imports."""


def num_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def assert_equal_studies(home: Home, name: str, other: str) -> None:
    """The same trials with the same parameters, ends and scores, epoch by epoch."""
    mine, theirs = read_study(home, name), read_study(home, other)
    assert (mine.state, theirs.state) == ("finished", "finished")
    for trial, expected in zip(mine.trials, theirs.trials, strict=True):
        got = (trial.key, trial.params, trial.state, trial.outcome, trial.epochs, trial.seed)
        assert got == (expected.key, expected.params, expected.state, expected.outcome, expected.epochs, expected.seed)
        curves = [
            [timeless(report.metrics) for report in StudyFolder(home.study(study)).trial(trial.number).reports()]
            for study in (name, other)
        ]
        assert curves[0] == curves[1], f"trial {trial.key} has other scores"


def timeless(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.startswith(("time/", "speed/", "memory/"))}


def assert_on_record_once(home: Home, status: StudyStatus) -> set[tuple[str, int]]:
    """Every trial has ended, with each of its epochs once in its folder. Returns all of them."""
    recorded: set[tuple[str, int]] = set()
    for trial in status.trials:
        assert trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
        lines = StudyFolder(home.study(status.study)).trial(trial.number).metrics_file.read_text().splitlines()
        epochs = [json.loads(line)["epoch"] for line in lines]
        assert epochs == list(range(1, trial.epochs + 1))
        recorded |= {(trial.key, epoch) for epoch in epochs}
    return recorded


def assert_in_mlflow_once(home: Home, status: StudyStatus) -> None:
    """A run per trial and one for the study, none RUNNING, and each point once."""
    folder = StudyFolder(home.study(status.study))
    experiment = experiment_name(None, folder.load().experiment.name, simulated=folder.identity().simulate)
    runs = find_study_runs(home.tracking_uri, experiment=experiment, study_key=folder.identity().tracking_key)
    assert runs is not None
    client = open_client(home.tracking_uri)
    found = client.search_runs(
        [runs.experiment_id], f"tags.`distune.study_key` = '{folder.identity().tracking_key}'", max_results=500
    )
    assert len(found) == len(status.trials) + 1
    expected = {Outcome.FINISHED: "FINISHED", Outcome.STOPPED: "FINISHED", Outcome.DIVERGED: "FAILED"}
    parent = next(run for run in found if run.info.run_id == runs.study_run_id)
    assert parent.info.status == "FINISHED"
    for trial in status.trials:
        run = client.get_run(runs.trial_run_ids[trial.key])
        assert run.info.status == expected[trial.outcome], trial.key
        assert run.data.tags["distune.outcome"] == trial.outcome
        for name in ("search/AP", "loss/task"):
            points: Any = client.get_metric_history(run.info.run_id, name)
            assert [point.step for point in points] == list(range(1, trial.epochs + 1)), (trial.key, name)
    assert not (folder.path / "spool.refused.jsonl").exists()
