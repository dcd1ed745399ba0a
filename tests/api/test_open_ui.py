"""The MLflow UI of a study that has just been started: it waits for the store and the first records."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import distune
from distune.api.open_ui import _Wait
from distune.api.preparation import locked_tracker
from distune.config.home import Home
from distune.config.load import load_experiment
from distune.study.create import create_study
from distune.study.files.study_folder import StudyFolder
from distune.tracking.build import build_tracker
from distune.tracking.server import NoRunsError
from distune.tracking.tracker import Tracker

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.fixture(autouse=True)
def _server(monkeypatch: pytest.MonkeyPatch) -> None:
    server = SimpleNamespace(url="http://127.0.0.1:1", __enter__=lambda: None)

    class Opened:
        def __enter__(self) -> SimpleNamespace:
            return server

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr("distune.api.open_ui.start_ui", lambda *_, **__: Opened())
    monkeypatch.setattr("distune.api.open_ui._POLL_S", 0.05)


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    """A study that has been created, and whose session has not begun."""
    loaded = load_experiment("quickstart", overrides={"search.num_trials": 1})
    return create_study(loaded, Home(tmp_path), name="one", simulate=True, runner="local", replace=False)


def test_it_waits_for_the_store_and_the_first_records(
    folder: StudyFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, is_locked = Home(tmp_path), threading.Event()
    messages: list[str] = []

    def build_slowly(*arguments: Any, **options: Any) -> Tracker:
        is_locked.set()
        time.sleep(0.3)
        home.database.touch()  # as others make it
        time.sleep(0.3)
        home.database.unlink()
        return build_tracker(*arguments, **options)

    monkeypatch.setattr("distune.api.preparation.build_tracker", build_slowly)

    def session() -> None:
        with locked_tracker(folder, folder.load().experiment, home) as tracker:
            time.sleep(0.3)
            tracker.start_study({}, {})
            time.sleep(3.0)

    thread = threading.Thread(target=session)
    thread.start()
    assert is_locked.wait(10)
    with distune.load_study("one", home=tmp_path).mlflow_ui(port=0, on_message=messages.append) as (links, _):
        assert links.study is not None
    thread.join()
    assert messages == ["waiting for the first records of study one"]


def test_it_does_not_wait_for_a_study_that_does_not_run(folder: StudyFolder, tmp_path: Path) -> None:
    study = distune.launch(
        "quickstart",
        name="other",
        simulate=True,
        runner="local",
        callbacks=[],
        home=tmp_path,
        overrides={"search.num_trials": 1, "training.epochs": 2},
    )
    shutil.rmtree(study.path)
    with pytest.raises(NoRunsError, match="runs of this study yet"):
        distune.load_study("one", home=tmp_path).mlflow_ui(port=0).__enter__()


def test_it_does_not_wait_for_ever(folder: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distune.api.open_ui._LONGEST_WAIT_S", 0.2)
    wait, started = _Wait(folder, None), time.monotonic()
    with folder.lock():
        while wait.may_continue():
            pass
    assert 0.2 <= time.monotonic() - started < 20
