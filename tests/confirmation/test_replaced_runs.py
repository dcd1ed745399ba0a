"""Runs that are trained again have a run of their own in MLflow, without the epochs of the former training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import distune
from distune.tracking.mlflow_client import open_client
from support.experiments import small_values

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.mark.parametrize("cause", ["other data", "a folder that was removed"])
def test_a_run_that_is_trained_again_shows_its_own_epochs_alone(tmp_path: Path, cause: str) -> None:
    values = small_values({"search": {"num_trials": 1, "scheduler": {"kind": "none"}}})
    study = distune.launch(values, name="one", simulate=True, runner="local", home=tmp_path, callbacks=[])
    assert study.confirm(top=1, seeds=1, callbacks=[]) is not None
    folder = study.path / "confirmation" / "seed-1000" / "0"
    if cause == "other data":
        recorded = json.loads((folder / "trial.json").read_text())
        recorded["experiment"]["training"]["batch_size"] += 1
        (folder / "trial.json").write_text(json.dumps(recorded))
    else:
        shutil.rmtree(folder)
    assert study.confirm(top=1, seeds=1, callbacks=[]) is not None

    client = open_client(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string=f"name = '{study.experiment.name}-simulated'")
    runs = client.search_runs([experiment.experiment_id], "tags.`distune.trial` LIKE 'confirm-%'")
    found = {
        (run.data.tags["distune.trial"], run.data.tags["distune.kind"]): [
            point.step for point in client.get_metric_history(run.info.run_id, "search/AP")
        ]
        for run in runs
    }
    epochs = list(range(1, study.experiment.training.epochs + 1))
    assert found == {
        ("confirm-0-seed-1000", "replaced"): epochs,
        ("confirm-0-seed-1000", "confirmation"): epochs,
        ("confirm-control-seed-1000", "confirmation"): epochs,
    }
