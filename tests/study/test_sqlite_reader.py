"""Reading trials without Optuna: the same trials as Optuna reads, and nothing where the file is of an unknown form."""

from __future__ import annotations

import contextlib
import math
import sqlite3
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from distune.study.search.stored_trial import StoredTrial
from distune.study.search.trial_store import read_trials
from distune.study.storage.optuna_storage import open_database, open_studies
from distune.study.storage.sqlite_reader import read_sqlite
from distune.study.storage.study_names import controls_name


def read(path: Path, name: str = "mine") -> list[StoredTrial] | None:
    return read_sqlite(path, search_study=name, control_study=controls_name(name))


def fill(search: optuna.Study, controls: optuna.Study) -> None:
    control = controls.ask()
    control.report(30.5, 1)
    controls.tell(control, 30.5)
    search.enqueue_trial({}, user_attrs={"origin": "the experiment's own values"})
    first = search.ask(
        {
            "a": FloatDistribution(1e-3, 1.0, log=True),
            "b": IntDistribution(1, 9),
            "c": CategoricalDistribution(["x", None, True, 3, 0.5]),
        }
    )
    for epoch, value in ((2, 3.0), (1, 1.0)):
        first.report(value, epoch)
    search.tell(first, 3.0)
    diverged = search.ask({"b": IntDistribution(2, 8, step=2)})
    for epoch, value in enumerate((math.nan, math.inf, -math.inf), 1):
        diverged.report(value, epoch)
    diverged.set_user_attr("setbacks", [{"reason": "worker died: gone", "epochs": 1}])
    diverged.set_user_attr("reason", "loss/task was nan in epoch 1")
    diverged.set_user_attr("outcome", "diverged")
    search.tell(diverged, state=optuna.trial.TrialState.PRUNED)
    search.tell(search.ask(), state=optuna.trial.TrialState.FAIL)
    search.ask()
    search.enqueue_trial({})


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "optuna.db"
    with open_database(path) as storage:
        fill(*open_studies(storage, "mine"))
        open_studies(storage, "other")[0].ask()
    return path


def test_the_trials_are_those_that_optuna_reads(database: Path) -> None:
    with open_database(database) as storage:
        expected = read_trials(*open_studies(storage, "mine"))
    found = read(database)
    assert found is not None
    assert repr(found) == repr(expected), "by text, since NaN is not equal to itself"
    assert [trial.number for trial in found] == [-1, 0, 1, 2, 3, 4]


def test_a_schema_of_another_version_is_left_to_optuna(database: Path) -> None:
    with contextlib.closing(sqlite3.connect(database)) as file, file:
        file.execute("UPDATE alembic_version SET version_num = 'v9.0.0.a'")
    assert read(database) is None


def test_an_unknown_distribution_is_left_to_optuna(database: Path) -> None:
    with contextlib.closing(sqlite3.connect(database)) as file, file:
        file.execute('UPDATE trial_params SET distribution_json = \'{"name": "New", "attributes": {}}\'')
    assert read(database) is None


def test_what_cannot_be_read_is_left_to_optuna(database: Path, tmp_path: Path) -> None:
    assert read(database, "absent") is None
    assert read(tmp_path / "absent.db") is None
    assert not (tmp_path / "absent.db").exists()
    (tmp_path / "text.db").write_text("no database, and long enough to be taken for one" * 40)
    assert read(tmp_path / "text.db") is None
