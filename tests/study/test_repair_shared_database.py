"""Repair of studies whose Optuna records are in a shared PostgreSQL database."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from distune.api.repair_study import Repair, repair_study
from distune.config.home import Home
from distune.errors import DistuneError, StudyError
from distune.study.create import create_study
from distune.study.files.study_folder import StudyFolder
from distune.study.session import run_session
from distune.study.status import read_study
from study.harness import METRIC, MakeLoaded, Witness

pytestmark = [
    pytest.mark.server,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def study(home: Home, make_loaded: MakeLoaded, database: str) -> StudyFolder:
    loaded = make_loaded(
        search={"num_trials": 4, "storage": database}, training={"epochs": 3}, tracking={"enabled": False}
    )
    folder = create_study(loaded, home, name="one", simulate=True, runner="local", replace=False)
    run(folder)
    return folder


def run(study: StudyFolder, *, num_trials: int | None = None) -> None:
    run_session(study, tracker=Witness(), callback=Witness(), teacher_weights=None, num_trials=num_trials)


def rows(home: Home) -> list[Any]:
    return [(each.key, each.params, each.outcome, each.metrics.get(METRIC)) for each in read_study(home, "one").trials]


def execute(database: str, *statements: str, **values: Any) -> None:
    engine = sqlalchemy.create_engine(database)
    try:
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("SET LOCAL session_replication_role = replica"))  # no foreign keys
            for statement in statements:
                connection.execute(sqlalchemy.text(statement), values)
    finally:
        engine.dispose()


OF_STUDY = "(SELECT study_id FROM optuna.studies WHERE study_name LIKE :key || '%')"


@pytest.mark.parametrize("loss", ["last trials", "all of the study", "all tables"])
def test_lost_records_are_rebuilt(study: StudyFolder, home: Home, database: str, loss: str) -> None:
    expected, key = rows(home), study.identity().tracking_key
    if loss == "last trials":
        execute(database, f"DELETE FROM optuna.trials WHERE number >= 2 AND study_id IN {OF_STUDY}", key=key)
    elif loss == "all of the study":
        execute(database, "DELETE FROM optuna.studies WHERE study_name LIKE :key || '%'", key=key)
    else:
        execute(database, "DROP SCHEMA optuna CASCADE")
    with pytest.raises(StudyError, match=r"Optuna's records lack .* distune repair one"):
        run(study)
    result = repair_study(study, home)
    assert "Optuna's records lack" in result.found[0]
    assert postgres_password_of(database) not in str(result)
    assert rows(home) == expected
    assert repair_study(study, home) == Repair(study="one")
    run(study, num_trials=5)
    assert rows(home)[: len(expected)] == expected


def postgres_password_of(database: str) -> str:
    return sqlalchemy.engine.make_url(database).password or "//no password//"


def test_a_damaged_table_and_a_server_that_is_away_are_told(study: StudyFolder, home: Home, database: str) -> None:
    execute(database, "ALTER TABLE optuna.trial_values RENAME COLUMN value TO away")
    try:
        for work in (lambda: repair_study(study, home), lambda: run(study), lambda: read_study(home, "one")):
            with pytest.raises(DistuneError, match=r"study one.*trial_values\.value"):
                work()
    finally:
        execute(database, "ALTER TABLE optuna.trial_values RENAME COLUMN away TO value")
    assert repair_study(study, home) == Repair(study="one")
    text = study.experiment_file.read_text()
    port = sqlalchemy.engine.make_url(database).port
    assert str(port) in text
    study.experiment_file.write_text(text.replace(str(port), "9"))
    study.record_file.write_text(study.record_file.read_text().replace(str(port), "9"))
    with pytest.raises(DistuneError, match=r"study one: .*refused"):
        repair_study(study, home)


def test_a_copy_in_another_home_gets_records_of_its_own(study: StudyFolder, home: Home) -> None:
    expected = rows(home)
    other = Home(home.root.with_name("other"))
    shutil.copytree(home.root, other.root)
    copy = StudyFolder(other.study("one"))
    with pytest.raises(StudyError, match="is a copy of study"):
        run(copy, num_trials=5)
    repair_study(copy, other)
    assert rows(other) == rows(home) == expected
    run(copy, num_trials=5)
    assert (len(rows(other)), len(rows(home))) == (6, 5)
    run(study, num_trials=6)
    assert (len(rows(other)), len(rows(home))) == (6, 7)
