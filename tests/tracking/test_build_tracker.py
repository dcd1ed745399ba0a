"""Building a tracker: the checks at launch, and a whole study through spool, thread and SQLite."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from distune.config.home import Home
from distune.config.search import TrackingSettings
from distune.errors import UsageError
from distune.records import EpochReport, Outcome, TrialRecord, TrialSpec, TrialState
from distune.tracking.build import build_tracker, initialize_sqlite
from distune.tracking.environment import prepare_client, prepare_server
from distune.tracking.mlflow_client import find_study_runs, open_client
from distune.tracking.sink import SinkUnavailableError
from distune.tracking.tracker import NullTracker, Tracker

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

Build = Callable[..., Tracker]


@pytest.fixture
def home(tmp_path: Path, template_database: Path) -> Home:
    shutil.copy(template_database, tmp_path / "mlflow.db")
    return Home(tmp_path)


@pytest.fixture
def build(home: Home) -> Build:
    def build_one(settings: TrackingSettings | None = None, study_key: str = "blood-1") -> Tracker:
        return build_tracker(
            settings or TrackingSettings(),
            home=home,
            study_folder=home.study("blood"),
            study="blood",
            study_key=study_key,
            experiment="bccd",
        )

    return build_one


def test_tracking_can_be_disabled(build: Build, home: Home) -> None:
    assert isinstance(build(TrackingSettings(enabled=False, uri="nonsense")), NullTracker)
    assert not home.study("blood").exists()


@pytest.mark.parametrize("uri", ["./mlruns", "ftp://host", "sqlite://"])
def test_a_bad_uri_is_refused_and_nothing_is_written(build: Build, home: Home, uri: str) -> None:
    with pytest.raises(UsageError, match=r"tracking\.uri = "):
        build(TrackingSettings(uri=uri))
    assert not home.study("blood").exists()


def test_a_spool_that_cannot_be_opened_is_a_usage_error(build: Build, home: Home) -> None:
    (home.study("blood") / "spool.jsonl").mkdir(parents=True)
    with pytest.raises(UsageError, match="study blood: the spool of its events for MLflow cannot be opened"):
        build()


def test_databricks_requires_a_path(build: Build) -> None:
    with pytest.raises(UsageError, match="/Users/you/bccd"):
        build(TrackingSettings(uri="databricks"))


def test_a_file_that_is_not_a_database_is_not_changed(build: Build, home: Home) -> None:
    path = home.root / "precious.txt"
    path.write_text("precious")
    with pytest.raises(UsageError, match="is not a SQLite database"):
        build(TrackingSettings(uri=f"sqlite:///{path}"))
    assert path.read_text() == "precious"


def test_a_database_that_cannot_be_created_is_a_usage_error(home: Home) -> None:
    (home.root / "file").write_text("a file")
    with pytest.raises(UsageError, match="cannot be created"):
        initialize_sqlite(f"sqlite:///{home.root / 'file' / 'mlflow.db'}")


def test_an_existing_database_is_not_changed(home: Home) -> None:
    before = (home.root / "mlflow.db").stat()
    initialize_sqlite(home.tracking_uri)
    assert (home.root / "mlflow.db").stat() == before


def test_an_unfinished_database_is_created_again(tmp_path: Path) -> None:
    unfinished = tmp_path / ".mlflow.db.new"
    unfinished.write_bytes(b"SQLite format 3\0 and then the power failed")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    initialize_sqlite(uri)
    assert not unfinished.exists()
    assert open_client(uri).search_experiments() != []


def test_an_unavailable_server_does_not_stop_the_launch(build: Build, caplog: pytest.LogCaptureFixture) -> None:
    tracker = build(TrackingSettings(uri="http://ann:secret@127.0.0.1:9"))
    tracker.start_study({}, {})
    tracker.close()
    assert "is unavailable" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("uri", [None, "http://127.0.0.1:9"])
def test_only_a_database_gets_a_folder_for_artifacts(
    build: Build, home: Home, monkeypatch: pytest.MonkeyPatch, uri: str | None
) -> None:
    locations: list[str | None] = []

    def make_sink(*_: str, artifact_location: str | None, **__: str) -> None:
        locations.append(artifact_location)
        raise SinkUnavailableError

    monkeypatch.setattr("distune.tracking.build.MlflowSink", make_sink)
    tracker = build(TrackingSettings(uri=uri))
    tracker.start_study({}, {})
    tracker.close()
    assert set(locations) == {home.artifacts.absolute().as_uri() if uri is None else None}


def test_two_sessions_of_a_study_write_to_the_same_runs(
    build: Build, home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    report = home.study("blood") / "report.html"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text("report")
    first = build(TrackingSettings(experiment="cells"))
    first.start_study({"search.num_trials": 2}, {})
    play_trial(first, 0, epochs=range(1, 4), outcome=Outcome.FINISHED)
    play_trial(first, 1, epochs=range(1, 3), outcome=Outcome.INTERRUPTED)
    first.end_study("interrupted")
    first.close()

    second = build(TrackingSettings(experiment="cells"))
    second.start_study({"search.num_trials": 2}, {})
    play_trial(second, 1, epochs=range(2, 4), outcome=Outcome.FINISHED)
    second.log_file(None, report, "")
    second.end_study("finished")
    second.close()

    client = open_client(home.tracking_uri)
    found = find_study_runs(home.tracking_uri, experiment="cells", study_key="blood-1")
    assert found is not None
    assert found.study_run_id is not None
    assert set(found.trial_run_ids) == {"0", "1"}
    for run_id in found.trial_run_ids.values():
        assert [point.step for point in client.get_metric_history(run_id, "search/AP")] == [1, 2, 3]
        assert client.get_run(run_id).info.status == "FINISHED"
    assert (home.artifacts / found.study_run_id / "artifacts" / "report.html").is_file()
    assert not caplog.records, "a warning without a fault"
    assert not (home.study("blood") / "spool.refused.jsonl").exists()


def play_trial(tracker: Tracker, number: int, *, epochs: range, outcome: Outcome) -> None:
    tracker.start_trial(
        TrialSpec(
            study="blood",
            number=number,
            control=False,
            seed=0,
            num_epochs=3,
            params={"alpha": 1.0},
            experiment={},
            folder="",
            teacher_weights=None,
        )
    )
    for epoch in epochs:
        report = EpochReport(epoch=epoch, metrics={"search/AP": epoch / 10}, finished_at=1_700_000_000.0 + epoch)
        tracker.log_epoch(str(number), report)
    tracker.end_trial(
        TrialRecord(
            number=number,
            state=TrialState.COMPLETE,
            outcome=outcome,
            control=False,
            epochs=epochs[-1],
            params={},
            metrics={"search/AP": 0.3},
            seed=0,
        )
    )


def test_no_thread_is_left_behind(build: Build) -> None:
    tracker = build()
    tracker.start_study({}, {})
    assert "distune-tracking" in {thread.name for thread in threading.enumerate()}
    tracker.close()
    assert "distune-tracking" not in {thread.name for thread in threading.enumerate()}


def test_mlflow_has_no_retries_and_no_telemetry_unless_the_user_set_them() -> None:
    environment = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3"}
    prepare_client(environment)
    assert environment["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "3"
    environment = {}
    prepare_client(environment)
    prepare_server(environment)
    assert environment["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "0"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert environment["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] == "true"
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"


def test_importing_the_package_does_not_import_mlflow_or_torch() -> None:
    import subprocess
    import sys

    code = "import sys, distune.tracking.build, distune.tracking.server; print({'mlflow', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_uri_of_sqlite_names_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    initialize_sqlite(f"sqlite:///file:{tmp_path / 'new' / 'mlflow.db'}?uri=true")
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    assert (tmp_path / "new" / "mlflow.db").stat().st_size > 0
