"""Homes with unusual paths, homes that were moved or copied, and stores of other releases of MLflow and Optuna."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

import distune
from distune.config.home import Home
from distune.config.sqlite_url import sqlite_url
from distune.errors import StudyError
from distune.study.files.study_place import PLACE_FILE
from distune.tracking.artifact_location import update_artifact_locations
from distune.tracking.events import FileLogged
from distune.tracking.mlflow_client import find_study_runs, open_client
from distune.tracking.run_names import experiment_name
from distune.tracking.spool import Spool
from distune.tracking.spool_tracker import SpoolTracker
from distune.tracking.store_version import StoreVersionError, check_store_version, known_versions

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

PATHS = ["a?b", "50%25off", "x#y", "with blank", "日本 é", "file:a+b&c;'d"]
MakeHome = Callable[[str], Path]


@pytest.fixture
def make_home(tmp_path: Path, template_database: Path) -> MakeHome:
    def make(name: str) -> Path:
        home = tmp_path / "homes" / name
        home.mkdir(parents=True)
        shutil.copy(template_database, home / "mlflow.db")
        return home

    return make


def launch(home: Path, num_trials: int = 2) -> distune.Study:
    return distune.launch(
        "quickstart",
        name="one",
        simulate=True,
        runner="local",
        overrides={"search.num_trials": num_trials, "training.epochs": 3},
        callbacks=[],
        home=home,
    )


def artifacts_of(home: Path) -> dict[str, set[str]]:
    """Key of a trial, empty for the study, to the names of its artifacts as MLflow finds them."""
    uri, study = Home(home).tracking_uri, distune.load_study("one", home=home)
    key = json.loads((study.path / "study.json").read_text())["key"]
    runs = find_study_runs(
        uri, experiment=experiment_name(None, "quickstart", simulated=True), study_key=f"one-{key[:8]}"
    )
    assert runs is not None
    assert runs.study_run_id is not None
    client = open_client(uri)
    return {
        name: {each.path for each in client.list_artifacts(run_id)}
        for name, run_id in {"": runs.study_run_id, **runs.trial_run_ids}.items()
    }


def forget_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin as a new process does: MLflow remembers the place of each run."""
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._artifact_repos_cache", OrderedDict())


def execute(database: Path, statement: str, *values: str) -> None:
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(statement, values)


@pytest.mark.parametrize("name", [*PATHS, "plain"])
def test_the_url_of_a_file_leads_to_that_file(tmp_path: Path, name: str) -> None:
    assert make_url(sqlite_url(tmp_path / name)).database == str(tmp_path / name)


def test_a_plain_path_is_written_as_users_know_it() -> None:
    assert sqlite_url(Path("/home/ann/my runs/mlflow.db")) == "sqlite:////home/ann/my runs/mlflow.db"


@pytest.mark.parametrize("name", PATHS)
def test_a_study_works_in_a_home_of_any_name(make_home: MakeHome, name: str) -> None:
    home = make_home(name)
    study = launch(home)
    assert study.state == "finished"
    found = artifacts_of(home)
    assert set(found) == {"", "control-1", "0", "1"}
    assert found["0"] == {"trial.json"}
    assert study.optuna_study().best_value == study.best_value
    assert [path.name for path in home.parent.iterdir()] == [name], "nothing is written beside the home"
    assert {path.name for path in home.iterdir()} == {"mlflow.db", ".mlflow.db.lock", "artifacts", "studies"}


def test_a_moved_home_works_as_before(make_home: MakeHome, monkeypatch: pytest.MonkeyPatch) -> None:
    home = make_home("first")
    launch(home)
    before = artifacts_of(home)
    moved = home.rename(home.with_name("se?cond"))
    forget_places(monkeypatch)
    study = distune.load_study("one", home=moved)
    assert study.best_trial.number in (0, 1)
    study.resume(num_trials=3, callbacks=[])
    assert study.confirm(top=1, seeds=2, callbacks=[]) is not None
    assert not home.exists()
    after = artifacts_of(moved)
    assert {name: after[name] >= files for name, files in before.items()} == dict.fromkeys(before, True)
    assert after["2"] == {"trial.json"}
    recorded = [path for path in moved.rglob("*.json*") if str(home.parent) in path.read_text(encoding="utf-8")]
    assert recorded == [moved / "studies" / "one" / PLACE_FILE], "all other paths on record are relative to the home"
    assert str(home) + "/" not in recorded[0].read_text(encoding="utf-8"), "and this one is the place of today"


def test_a_copied_home_has_its_own_artifacts(make_home: MakeHome, monkeypatch: pytest.MonkeyPatch) -> None:
    home = make_home("first")
    launch(home)
    copied = Path(shutil.copytree(home, home.with_name("copy")))
    forget_places(monkeypatch)
    before = sorted(home.rglob("*"))
    distune.load_study("one", home=copied).resume(num_trials=3, callbacks=[])
    assert sorted(home.rglob("*")) == before
    assert artifacts_of(copied)["2"] == {"trial.json"}


def test_places_of_another_home_in_the_same_store_stay(make_home: MakeHome) -> None:
    home, other = make_home("mine"), make_home("other")
    launch(other)
    shutil.copy(other / "mlflow.db", home / "mlflow.db")  # as if both used one store
    assert update_artifact_locations(home / "mlflow.db", home / "artifacts") == 0
    shutil.rmtree(other)
    assert update_artifact_locations(home / "mlflow.db", home / "artifacts", is_shared=True) == 0
    assert update_artifact_locations(home / "mlflow.db", home / "artifacts") == 5  # an experiment and four runs


def test_unsent_files_are_found_after_a_move(tmp_path: Path) -> None:
    class Unavailable:
        def apply(self, events: object) -> None:
            raise OSError

    folder = tmp_path / "first" / "one"
    folder.mkdir(parents=True)
    tracker = SpoolTracker(folder, make_sink=Unavailable)
    tracker.log_file(None, folder / "report" / "study.png", "report")
    tracker.log_file(None, Path("/elsewhere/a.png"), "report")
    tracker.close(timeout_s=0)
    (tmp_path / "first").rename(tmp_path / "second")
    spool = Spool(tmp_path / "second" / "one")
    events = [line.event for line in spool.read_from(0)]
    spool.close()
    assert [event.path for event in events if isinstance(event, FileLogged)] == [
        str(tmp_path / "second" / "one" / "report" / "study.png")
    ]


def test_the_installed_mlflow_has_one_newest_version(template_database: Path) -> None:
    known, newest = known_versions()
    assert newest is not None
    assert len(known) > 50
    check_store_version(sqlite_url(template_database))


@pytest.mark.parametrize(
    ("version", "advice"),
    [("451aebb31d03", r"run: mlflow db upgrade '?sqlite\S*:////"), ("ffffffffffff", "install that release")],
)
def test_a_store_of_another_mlflow_is_named_with_the_remedy(make_home: MakeHome, version: str, advice: str) -> None:
    home = make_home("a?b")
    launch(home)
    execute(home / "mlflow.db", "UPDATE alembic_version SET version_num = ?", version)
    study = distune.load_study("one", home=home)
    before = sorted((path, path.stat().st_mtime_ns) for path in home.rglob("*") if path.is_file())
    for call in (
        lambda: study.resume(num_trials=3, callbacks=[]),
        lambda: study.confirm(callbacks=[]),
        lambda: study.mlflow_ui(port=0).__enter__(),
        lambda: open_client(Home(home).tracking_uri),
    ):
        with pytest.raises(StoreVersionError, match=advice):
            call()
    assert sorted((path, path.stat().st_mtime_ns) for path in home.rglob("*") if path.is_file()) == before
    assert study.best_trial.number in (0, 1), "results do not need MLflow"


def test_a_sender_names_the_upgrade_of_a_database(make_home: MakeHome, caplog: pytest.LogCaptureFixture) -> None:
    home = make_home("home")
    execute(home / "mlflow.db", "UPDATE alembic_version SET version_num = '451aebb31d03'")
    tracker = SpoolTracker(home / "one", make_sink=lambda: open_client(Home(home).tracking_uri))  # type: ignore[arg-type,return-value]
    tracker.start_study({}, {})
    tracker.close()
    assert "mlflow db upgrade" in caplog.text
    assert "unavailable" not in caplog.text


@pytest.mark.parametrize(
    ("version", "advice"),
    [("v0.9.0.a", r"run: optuna storage upgrade --storage '?sqlite"), ("v99.0.0.a", "install that release")],
)
def test_a_storage_of_another_optuna_is_named_with_the_remedy(make_home: MakeHome, version: str, advice: str) -> None:
    home = make_home("home")
    study = launch(home)
    execute(study.path / "optuna.db", "UPDATE alembic_version SET version_num = ?", version)
    for call in (lambda: study.status, lambda: study.resume(num_trials=3, callbacks=[]), study.optuna_study):
        with pytest.raises(StudyError, match=advice) as error:
            call()
        assert "optuna.db" in str(error.value)
