"""MLflow stores that are locked, read-only or full for a while: no event is refused, and none is missing later."""

from __future__ import annotations

import errno
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distune.records import EpochReport, Outcome, TrialRecord, TrialSpec, TrialState
from distune.tracking.mlflow_client import find_study_runs, open_client
from distune.tracking.mlflow_sink import MlflowSink
from distune.tracking.spool_sender import RetryPolicy
from distune.tracking.spool_tracker import SpoolTracker

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:DeprecationWarning",
    "ignore::pytest.PytestUnhandledThreadExceptionWarning",
)
IMPATIENT = RetryPolicy(linger_s=0.0, first_wait_s=0.01, longest_wait_s=0.05, attempts=2)


def log_a_study(tracker: SpoolTracker, folder: Path) -> None:
    picture = folder / "picture.png"
    picture.write_bytes(b"picture")
    spec = TrialSpec(
        study="cells",
        number=0,
        control=False,
        seed=0,
        num_epochs=2,
        params={},
        experiment={},
        folder="",
        teacher_weights=None,
    )
    tracker.start_study({}, {})
    tracker.start_trial(spec)
    for epoch in (1, 2):
        report = EpochReport(epoch=epoch, metrics={"search/AP": epoch / 10}, finished_at=1_700_000_000.0 + epoch)
        tracker.log_epoch("0", report)
    tracker.log_file("0", picture, "pictures")
    tracker.end_trial(
        TrialRecord(
            number=0,
            state=TrialState.COMPLETE,
            outcome=Outcome.FINISHED,
            control=False,
            epochs=2,
            params={},
            metrics={"search/AP": 0.2},
            seed=0,
        )
    )
    tracker.end_study("finished")


def assert_all_there(uri: str, folder: Path) -> None:
    runs = find_study_runs(uri, experiment="blood", study_key="key-1")
    assert runs is not None
    assert set(runs.trial_run_ids) == {"0"}
    client = open_client(uri)
    assert runs.study_run_id is not None
    for run_id in (runs.study_run_id, runs.trial_run_ids["0"]):
        assert client.get_run(run_id).info.status == "FINISHED"
    points = client.get_metric_history(runs.trial_run_ids["0"], "search/AP")
    assert [point.step for point in points] == [1, 2]
    assert [each.path for each in client.list_artifacts(runs.trial_run_ids["0"], "pictures")] == [
        "pictures/picture.png"
    ]
    assert not (folder / "spool.refused.jsonl").exists()


def make_tracker(uri: str, folder: Path) -> SpoolTracker:
    def make_sink() -> MlflowSink:
        location = (folder / "artifacts").as_uri()
        return MlflowSink(uri, study="cells", study_key="key-1", experiment="blood", artifact_location=location)

    return SpoolTracker(folder, make_sink=make_sink, policy=IMPATIENT)


def wait_for(caplog: pytest.LogCaptureFixture, text: str) -> None:
    deadline = time.monotonic() + 60
    while text not in caplog.text:
        assert time.monotonic() < deadline, caplog.text
        time.sleep(0.01)


@pytest.mark.parametrize("comes_back", ["in this session", "in the next"])
def test_a_database_locked_by_another_process(
    mlflow_uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, comes_back: str
) -> None:
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *given, **more: real(*given, **{**more, "timeout": 0.05}))
    monkeypatch.setattr(sqlite3.dbapi2, "connect", sqlite3.connect)
    holder = real(tmp_path / "mlflow.db", isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN EXCLUSIVE")
    tracker = make_tracker(mlflow_uri, tmp_path)
    log_a_study(tracker, tmp_path)
    wait_for(caplog, "the tracking server is unavailable")
    if comes_back == "in the next":
        tracker.close()
        assert "next session" in caplog.text
    holder.execute("ROLLBACK")
    holder.close()
    if comes_back == "in the next":
        tracker = make_tracker(mlflow_uri, tmp_path)
    tracker.close()
    assert_all_there(mlflow_uri, tmp_path)


def test_a_read_only_store(
    mlflow_uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(uri: str) -> str:
        return uri.replace("sqlite:///", "sqlite:///file:") + "?mode=ro&uri=true"

    monkeypatch.chdir(tmp_path)  # MLflow makes a folder `file:` there
    tracker = make_tracker(read_only(mlflow_uri), tmp_path)
    log_a_study(tracker, tmp_path)
    wait_for(caplog, "the tracking server is unavailable")
    tracker.close()
    assert not (tmp_path / "spool.refused.jsonl").exists()
    make_tracker(mlflow_uri, tmp_path).close()
    assert_all_there(mlflow_uri, tmp_path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_no_disk_space_for_artifacts(
    mlflow_uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Files are sent when there is space again; they are not counted as refused."""
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    def full(*_: Any) -> None:
        raise OSError(number, "cannot be written")

    with monkeypatch.context() as patch:
        patch.setattr(LocalArtifactRepository, "log_artifact", full)
        tracker = make_tracker(mlflow_uri, tmp_path)
        log_a_study(tracker, tmp_path)
        wait_for(caplog, "the tracking server is unavailable")
        tracker.close()
    make_tracker(mlflow_uri, tmp_path).close()
    assert_all_there(mlflow_uri, tmp_path)


Damage = Callable[[bytes], bytes]


@pytest.mark.parametrize("damage", [lambda text: text[:-7], lambda text: text + b'{"event": "epo', lambda text: text])
def test_a_partial_line_in_the_spool_is_removed_and_the_others_are_sent(
    mlflow_uri: str, tmp_path: Path, damage: Damage
) -> None:
    def no_server() -> MlflowSink:
        raise ConnectionError("no server")

    first = SpoolTracker(tmp_path, make_sink=no_server, policy=IMPATIENT)
    log_a_study(first, tmp_path)
    first.close()
    spool = tmp_path / "spool.jsonl"
    spool.write_bytes(damage(spool.read_bytes()))
    second = make_tracker(mlflow_uri, tmp_path)
    second.end_study("finished")
    second.close()
    assert_all_there(mlflow_uri, tmp_path)
