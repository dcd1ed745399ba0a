"""A confirmation on Ray: a task per seed, and a worker that dies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distune.config.home import Home
from distune.records import Outcome
from distune.study.confirmation.session import plan_confirmation, run_confirmation
from distune.study.creation import create_study
from distune.study.session import run_session
from distune.study.simulation import ENVIRONMENT_VARIABLE
from distune.study.status import read_study
from study.bench import MakeLoaded, Witness


@pytest.mark.ray
def test_seeds_are_tasks_and_a_worker_that_dies_fails_its_seed_alone(
    tmp_path: Path, make_loaded: MakeLoaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path)
    loaded = make_loaded(search={"num_trials": 1}, training={"epochs": 2})
    folder = create_study(loaded, home, name="one", simulate=True, runner="local", replace=False)
    run_session(folder, tracker=Witness(), listener=Witness(), teacher_weights=None)
    identity = json.loads(folder.study_file.read_bytes())
    folder.study_file.write_text(json.dumps({**identity, "runner": "ray"}))
    mishap = {"confirm-0-seed-1006": {"epoch": 2, "kind": "kill"}}
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, json.dumps({"mishaps": mishap}))
    status = read_study(home, "one")
    plan = plan_confirmation(folder, status, loaded.experiment, top=1, num_seeds=3, teacher_weights=None)
    witness = Witness()
    found = run_confirmation(
        folder, plan, metric="AP", has_test=True, state="finished", tracker=witness, listener=witness
    )
    assert found is not None
    assert found.test is not None
    assert list(found.test.by_seed) == [1005, 1007]
    outcomes = witness.outcomes()
    assert [key for key, outcome in outcomes.items() if outcome is Outcome.FAILED] == [
        "confirm-control-seed-1006",
        "confirm-0-seed-1006",
    ]
    assert len(set(witness.points)) == len(witness.points) >= 4 * 2 + 1
