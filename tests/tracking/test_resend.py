"""Records that a tracking server has lost or never stored: noticed, and sent again by `distune repair`."""

from __future__ import annotations

import contextlib
import http.server
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from distune.api.preparation import locked_tracker
from distune.api.repair_study import Repair, repair_study
from distune.config.home import Home
from distune.study.create import create_study
from distune.study.files.study_folder import StudyFolder
from distune.study.session import run_session
from distune.tracking.mlflow_client import find_study_runs
from distune.tracking.resend import has_loss, unsent_bytes
from distune.tracking.sink import SinkUnavailableError
from study.conftest import make_loaded
from study.harness import MakeLoaded, Witness

__all__ = ["make_loaded"]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def make_study(home: Home, make_loaded: MakeLoaded) -> Callable[..., StudyFolder]:
    def make(**tracking: Any) -> StudyFolder:
        loaded = make_loaded(search={"num_trials": 2}, training={"epochs": 2}, tracking=tracking)
        return create_study(loaded, home, name="one", simulate=True, runner="local", replace=False)

    return make


def run(study: StudyFolder, home: Home, num_trials: int | None = None) -> None:
    with locked_tracker(study, study.load().experiment, home) as tracker:
        run_session(
            study, tracker=tracker, callback=Witness(), teacher_weights=None, num_trials=num_trials, is_locked=True
        )


def points(home: Home) -> dict[str, list[int]]:
    """Return the epochs in MLflow by trial."""
    query = (
        "SELECT tags.value, metrics.step FROM metrics JOIN tags USING (run_uuid) "
        "WHERE tags.key = 'distune.trial' AND metrics.key = 'loss/task' ORDER BY 1, 2"
    )
    found: dict[str, list[int]] = {}
    with contextlib.closing(sqlite3.connect(home.database)) as file:
        for trial, step in file.execute(query):
            found.setdefault(trial, []).append(step)
    return found


def distune(home: Home, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own: MLflow keeps a deleted database open."""
    return subprocess.run(
        [sys.executable, "-m", "distune", *arguments],
        env={**os.environ, "DISTUNE_HOME": str(home.root)},
        capture_output=True,
        text=True,
        check=True,
    )


@contextlib.contextmanager
def server_of_braces() -> Iterator[str]:
    """A server that answers ``{}`` to everything, as some proxies do."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        do_GET = do_POST = do_PATCH = answer

        def log_message(self, *_: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_server_that_answers_without_content_sets_no_record_aside(
    make_study: Callable[..., StudyFolder], home: Home
) -> None:
    with server_of_braces() as uri:
        study = make_study(uri=uri)
        run(study, home)
        assert not (study.path / "spool.refused.jsonl").exists()
        assert unsent_bytes(study.path) == (study.path / "spool.jsonl").stat().st_size
        left = repair_study(study, home).left
        assert len(left) == 1
        assert "not as an MLflow server does; check tracking.uri" in left[0]


def test_records_of_a_deleted_store_are_noticed_and_sent_again(
    make_study: Callable[..., StudyFolder], home: Home
) -> None:
    study = make_study()
    run(study, home)
    before = points(home)
    assert repair_study(study, home) == Repair(study="one")
    home.database.unlink()
    resumed = distune(home, "resume", "one", "--trials", "3")
    assert "has no run of study one, although its records were sent before" in resumed.stderr
    assert has_loss(study.path)
    assert points(home).keys() == {"2"}
    assert "has lost runs" in distune(home, "repair", "one").stdout
    found = points(home)
    assert {key: found[key] for key in before} == before
    assert len(found) == 4
    assert "nothing to repair" in distune(home, "repair", "one").stdout


def test_refused_events_are_sent_again(make_study: Callable[..., StudyFolder], home: Home) -> None:
    study = make_study()
    run(study, home)
    before = points(home)
    (study.path / "spool.refused.jsonl").write_text('{"at_ms": 1, "error": "x", "line": "{}"}\n')
    assert "1 events were refused" in repair_study(study, home).found[0]
    assert not (study.path / "spool.refused.jsonl").exists()
    assert points(home) == before


def test_the_error_of_a_server_without_content_is_no_refusal() -> None:
    with server_of_braces() as uri, pytest.raises(Exception, match="as an MLflow server does") as caught:
        find_study_runs(uri, experiment="small", study_key="one-1")
    assert not isinstance(caught.value, SinkUnavailableError)
