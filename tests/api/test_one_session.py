"""One session at a time: the lock of a study covers everything that sends to MLflow."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import distune
from distune.config.home import Home
from distune.errors import StudyError
from distune.study.files.study_folder import StudyFolder
from distune.study.status import read_study
from study.harness import Witness
from study.torture import PRELOADED, assert_in_mlflow_once
from support.zygote import Zygote

NAME = "one"


class LockWitness(Witness):
    """A tracker that notes whether the lock of its study is held when it is opened and closed."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder, self.held = StudyFolder(folder), [StudyFolder(folder).is_locked()]

    def close(self) -> None:
        self.held.append(self._folder.is_locked())


def launch(home: Path) -> distune.Study:
    return distune.launch(
        "quickstart",
        name=NAME,
        simulate=True,
        runner="local",
        overrides={"search.num_trials": 2, "training.epochs": 2},
        callbacks=[],
        home=home,
    )


def in_thread(function: Callable[[], object]) -> None:
    """Call a function as another session does, and raise its error here."""
    errors: list[BaseException] = []

    def call() -> None:
        try:
            function()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    for error in errors:
        raise error


@pytest.fixture
def trackers(monkeypatch: pytest.MonkeyPatch) -> list[LockWitness]:
    made: list[LockWitness] = []

    def build(*_: object, study_folder: Path, **__: object) -> LockWitness:
        made.append(LockWitness(study_folder))
        return made[-1]

    monkeypatch.setattr("distune.api.preparation.build_tracker", build)
    return made


def test_the_lock_is_held_from_the_opening_of_a_tracker_to_its_end(tmp_path: Path, trackers: list[LockWitness]) -> None:
    study = launch(tmp_path)
    study.resume(num_trials=3, callbacks=[])
    study.confirm(top=1, seeds=2, callbacks=[])
    study.ablate(seeds=2, callbacks=[])
    assert [each.held for each in trackers] == [[True, True]] * 4
    assert not StudyFolder(study.path).is_locked()
    assert study.state == "finished"


@pytest.mark.usefixtures("written_pages")
def test_the_state_in_the_records_of_a_session_is_that_of_its_end(tmp_path: Path, trackers: list[LockWitness]) -> None:
    study = launch(tmp_path)
    assert "running" not in trackers[0].descriptions[-1][0]
    page = (study.path / "report" / "report.html").read_text()
    assert "is running" not in page


@pytest.mark.parametrize("command", ["resume", "confirm", "ablate"])
def test_a_session_that_is_refused_opens_no_tracker(
    tmp_path: Path, trackers: list[LockWitness], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = launch(tmp_path)
    trackers.clear()
    monkeypatch.setattr("distune.study.files.study_lock._TIMEOUT_S", 0.05)
    # The other session starts between the first check and the session, as when both are started at one moment.
    monkeypatch.setattr("distune.api.study_session.update_study_settings", lambda *_, **__: None)
    with StudyFolder(study.path).lock(), pytest.raises(StudyError, match="running in another process"):
        in_thread(lambda: getattr(study, command)(callbacks=[]))
    assert not trackers


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")
def test_sessions_at_one_moment_send_each_trial_once(tmp_path: Path) -> None:
    launch(tmp_path)
    environment = {"DISTUNE_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    with Zygote(PRELOADED, environment=environment, folder=tmp_path) as zygote:
        for total in (5, 7):
            arguments = ("resume", NAME, "--trials", str(total))
            logs = [tmp_path / f"log-{total}-{index}" for index in range(3)]
            pids = [zygote.start(*arguments, log=log) for log in logs]
            statuses = sorted(zygote.wait(pid) for pid in pids)
            assert statuses[0] == 0, logs[0].read_text()
            assert set(statuses) <= {0, 2}
    assert_in_mlflow_once(Home(tmp_path), read_study(Home(tmp_path), NAME))
