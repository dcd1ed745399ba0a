"""Records have a short timeout and files MLflow's own; what was too slow is sent again and not refused."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_TIMEOUT
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository

from distune.tracking import timeouts
from distune.tracking.events import FileLogged, StudyDescribed, StudyStarted
from distune.tracking.mlflow_client import open_client, to_sink_error
from distune.tracking.mlflow_sink import MlflowSink
from distune.tracking.sink import SinkUnavailableError

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.fixture
def silent_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server that accepts connections and never answers."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def unused_address() -> str:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


_artifacts: Any = HttpArtifactRepository  # MLflow has no types for it


def upload_error(server: str, folder: Path) -> MlflowException:
    """The error of the upload of a small file."""
    file = folder / "student.pth"
    file.write_bytes(b"weights")
    with pytest.raises(MlflowException) as caught:
        _artifacts(f"{server}/api/2.0/mlflow-artifacts/artifacts/1").log_artifact(str(file))
    return caught.value


@pytest.mark.parametrize(("of_user", "of_records", "of_files"), [(None, 15, 120), ("60", 60, 60)])
def test_uploads_have_the_timeout_of_mlflow_and_records_a_short_one(
    mlflow_uri: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    of_user: str | None,
    of_records: int,
    of_files: int,
) -> None:
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT", raising=False)
    if of_user is not None:
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", of_user)
    timeout: Any = MLFLOW_HTTP_REQUEST_TIMEOUT
    found: list[tuple[str, float]] = []
    for name in ("log_batch", "log_artifact", "log_artifacts"):
        monkeypatch.setattr(
            f"mlflow.MlflowClient.{name}",
            lambda *_, name=name, **__: found.append((name, timeout.get())),
        )
    (tmp_path / "student.pth").write_bytes(b"weights")
    (tmp_path / "pictures").mkdir()
    location = (tmp_path / "artifacts").as_uri()
    sink = MlflowSink(mlflow_uri, study="cells", study_key="k", experiment="e", artifact_location=location)
    for path in ("student.pth", "pictures"):
        sink.apply([FileLogged(at_ms=1, key=None, path=str(tmp_path / path), folder="")])
        sink.apply([StudyStarted(at_ms=1, params={"a": 1}, tags={"b": "2"})])
    assert dict(found) == {"log_batch": of_records, "log_artifact": of_files, "log_artifacts": of_files}
    assert found[-1] == ("log_batch", of_records)


def test_a_file_that_a_busy_server_does_not_take_in_time_is_sent_again(
    silent_server: str, mlflow_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT", raising=False)
    client = open_client(mlflow_uri)  # answers requests of records
    monkeypatch.setattr(MLFLOW_HTTP_REQUEST_TIMEOUT, "default", 0.2)
    error = upload_error(silent_server, tmp_path)
    assert isinstance(to_sink_error(error, client), SinkUnavailableError)


def test_a_connection_that_fails_is_an_outage_even_if_the_next_one_succeeds(
    unused_address: str, mlflow_uri: str, tmp_path: Path
) -> None:
    client = open_client(mlflow_uri)
    assert isinstance(to_sink_error(upload_error(unused_address, tmp_path), client), SinkUnavailableError)
    other = MlflowException("another error")
    assert to_sink_error(other, client) is other


def test_a_timeout_of_what_the_study_can_do_without_is_sent_again(
    unused_address: str, mlflow_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = (tmp_path / "artifacts").as_uri()
    sink = MlflowSink(mlflow_uri, study="cells", study_key="k", experiment="e", artifact_location=location)
    error = upload_error(unused_address, tmp_path)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("mlflow.MlflowClient.set_experiment_tag", fail)
    with pytest.raises(SinkUnavailableError):
        sink.apply([StudyDescribed(at_ms=1, headline="a gain", note="a note")])


def test_an_upload_that_fails_leaves_the_short_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MLFLOW_HTTP_REQUEST_TIMEOUT, "default", MLFLOW_HTTP_REQUEST_TIMEOUT.default)
    timeouts.shorten_timeout()
    with pytest.raises(OSError, match="gone"), timeouts.uploading():
        raise OSError("gone")
    assert MLFLOW_HTTP_REQUEST_TIMEOUT.default == timeouts.RECORDS_TIMEOUT_S
