"""Failing disks and databases: the study continues or stops with a clear message, and loses nothing."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from distune.config.home import Home
from distune.confirmation.confirmation_plan import plan_confirmation
from distune.confirmation.confirmation_session import run_confirmation
from distune.errors import StudyError
from distune.evidence.confirmation_result import ConfirmationResult
from distune.records import Outcome, TrialState
from distune.study.create import create_study
from distune.study.files.study_folder import StudyFolder
from distune.study.session import run_session
from distune.study.status import read_study
from distune.study.storage import optuna_storage as storage
from distune.study.storage.optuna_storage import StudyStoppedError, stopped_error
from distune.tracking.events import EpochLogged, Event, TrialEnded, TrialStarted
from distune.tracking.spool_tracker import SpoolTracker
from study.harness import METRIC, MakeLoaded, Witness
from support.command_line import run as command

SEARCH = {"num_trials": 4}


@pytest.fixture(autouse=True)
def _optuna_does_not_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Optuna tries four times again to create a trial, after a second each."""
    monkeypatch.setattr("optuna.storages._rdb.storage.time", SimpleNamespace(sleep=lambda _: None))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def study(home: Home, make_loaded: MakeLoaded) -> StudyFolder:
    loaded = make_loaded(search=SEARCH, tracking={"enabled": False})
    return create_study(loaded, home, name="one", simulate=True, runner="local", replace=False)


def run(study: StudyFolder) -> Witness:
    witness = Witness()
    run_session(study, tracker=witness, callback=witness, teacher_weights=None)
    return witness


def curves(home: Home, name: str = "one") -> list[Any]:
    """Return the records of a study without their times."""
    status = read_study(home, name)
    assert status.state == "finished"
    return [(each.key, each.params, each.state, each.epochs, each.metrics.get(METRIC)) for each in status.trials]


@pytest.fixture
def expected(home: Home, make_loaded: MakeLoaded) -> list[Any]:
    loaded = make_loaded(search=SEARCH)
    run(create_study(loaded, home, name="calm", simulate=True, runner="local", replace=False))
    return curves(home, "calm")


@contextlib.contextmanager
def held(database: Path, seconds: float | None) -> Iterator[None]:
    """Lock the database by another process, for some seconds or until the block ends."""
    code = (
        "import sqlite3, sys, time\n"
        f"connection = sqlite3.connect({str(database)!r}, isolation_level=None)\n"
        "connection.execute('BEGIN EXCLUSIVE')\n"
        "print('held', flush=True)\n"
        f"time.sleep({3600 if seconds is None else seconds})\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            yield
        finally:
            process.kill()


def test_a_study_waits_for_a_database_that_is_locked_for_some_time(
    study: StudyFolder, home: Home, expected: list[Any]
) -> None:
    with held(study.database, 1.0):
        run(study)
    assert curves(home) == expected


def test_a_database_that_stays_locked_stops_the_study_with_a_clear_message(
    study: StudyFolder, home: Home, expected: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "LOCKED_TIMEOUT_S", 0.1)
    with held(study.database, None):
        with pytest.raises(StudyStoppedError) as caught:
            run(study)
        assert read_study(home, "one").state == "interrupted", "reading waits for no lock"
    assert caught.value.exit_status == 1
    assert "database is locked" in str(caught.value)
    assert "stop the process that holds the database" in str(caught.value)
    assert "distune resume one" in str(caught.value)
    run(study)
    assert curves(home) == expected


def test_the_command_line_prints_the_message_once(
    study: StudyFolder, home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTUNE_HOME", str(home.root))
    monkeypatch.setattr(storage, "LOCKED_TIMEOUT_S", 0.1)
    with held(study.database, None):
        answer = command(capsys, monkeypatch, "resume", "one")
    assert answer.status == 1
    assert answer.err.count("error: ") == 1
    assert "database is locked" in answer.err
    assert "Traceback" not in answer.err
    assert command(capsys, monkeypatch, "resume", "one").status == 0


def test_a_database_that_is_locked_during_a_session(
    study: StudyFolder, home: Home, expected: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "LOCKED_TIMEOUT_S", 0.1)
    with contextlib.ExitStack() as stack:

        class Locker(Witness):
            def on_trial_start(self, spec: Any) -> None:
                if spec.number == 1:
                    stack.enter_context(held(study.database, None))

        with pytest.raises(StudyStoppedError, match="database is locked"):
            run_session(study, tracker=(witness := Locker()), callback=witness, teacher_weights=None)
        assert witness.study_ends == ["interrupted"]
    session = study.session()
    assert session is not None
    assert session.state == "interrupted"
    run(study)
    assert curves(home) == expected


def test_a_read_only_database_stops_the_study_with_a_clear_message(
    study: StudyFolder, home: Home, expected: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(path: Path) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "_connect", read_only)
        assert read_study(home, "one").state == "interrupted"
        with pytest.raises(StudyStoppedError, match=r"readonly database.*make it writable.*distune resume one"):
            run(study)
    run(study)
    assert curves(home) == expected


def test_a_file_that_is_no_database_is_reported_as_damaged(study: StudyFolder, home: Home) -> None:
    study.database.write_bytes(b"no database at all" * 100)
    with pytest.raises(StudyStoppedError, match=r"the file is damaged: rebuild it by distune repair one"):
        run(study)
    with pytest.raises(StudyError, match=r"optuna.db cannot be read: file is not a database"):
        read_study(home, "one")


@pytest.mark.parametrize("name", ["trials", "session.json"])
def test_a_path_that_cannot_be_written_stops_the_study(study: StudyFolder, home: Home, name: str) -> None:
    in_the_way = study.path / name
    if name == "trials":
        in_the_way.write_text("in the way")
    else:
        in_the_way.mkdir()
    with pytest.raises(StudyStoppedError, match=name):
        run(study)


class FullAfter:
    """A disk that is full after some writes, until it has space again."""

    def __init__(self, writes: int) -> None:
        self.left = writes
        self.num_refused = 0

    def take(self) -> None:
        if self.left <= 0:
            self.num_refused += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.left -= 1


def install(monkeypatch: pytest.MonkeyPatch, disk: FullAfter) -> None:
    """Count every fsync of distune and every write to the database."""
    real_fsync = os.fsync

    def fsync(number: int) -> None:
        disk.take()
        real_fsync(number)

    class Connection(sqlite3.Connection):
        def commit(self) -> None:
            if self.in_transaction:
                try:
                    disk.take()
                except OSError:
                    raise sqlite3.OperationalError("database or disk is full") from None
            super().commit()

    def connect(path: Path) -> sqlite3.Connection:
        return sqlite3.connect(path, check_same_thread=False, factory=Connection)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(storage, "_connect", connect)


def stop_reason(study: StudyFolder, witness: Witness) -> str | None:
    """Return why a session stopped; None when the study has finished."""
    try:
        run_session(study, tracker=witness, callback=witness, teacher_weights=None)
    except StudyStoppedError as error:
        return str(error)
    return None


def test_a_disk_that_is_full_at_every_write_in_turn(
    home: Home, make_loaded: MakeLoaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full at the n-th write, has space again, is full again n writes later, and so on."""
    loaded = make_loaded(search={"num_trials": 4}, training={"epochs": 2})
    run(create_study(loaded, home, name="calm", simulate=True, runner="local", replace=False))
    study = create_study(loaded, home, name="one", simulate=True, runner="local", replace=False)
    points: list[tuple[str, int]] = []
    words: list[str] = []
    for writes in range(100):
        disk, witness = FullAfter(writes), Witness()
        with monkeypatch.context() as patch:
            install(patch, disk)
            said = stop_reason(study, witness)
        points += witness.points
        if said is None:
            break
        assert disk.num_refused > 0
        words.append(said)
    assert len(words) > 5
    assert all("free some space, then run: distune resume one" in each for each in words)
    assert curves(home) == curves(home, "calm")
    assert all(trial.state is not TrialState.FAIL for trial in read_study(home, "one").trials)
    recorded = {(each.key, epoch) for each in read_study(home, "one").trials for epoch in range(1, each.epochs + 1)}
    assert set(points) == recorded


class Runs:
    """Trials of a study as a tracking server knows them from its events."""

    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}
        self.points: set[tuple[str, int]] = set()

    def apply(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, TrialStarted):
                self.outcomes[event.key] = "running"
            elif isinstance(event, TrialEnded):
                self.outcomes[event.record.key] = event.record.outcome.value
            elif isinstance(event, EpochLogged):
                self.points.add((event.key, event.report.epoch))


def stop_reason_with_tracker(study: StudyFolder, runs: Runs, callback: Witness) -> str | None:
    """Return why a session with a real spool stopped; None when the study has finished."""
    tracker = SpoolTracker(study.path, make_sink=lambda: runs)
    try:
        run_session(study, tracker=tracker, callback=callback, teacher_weights=None)
    except StudyStoppedError as error:
        return str(error)
    finally:
        tracker.close()
    return None


def assert_all_tracked(runs: Runs, home: Home) -> None:
    """Check that the tracking server knows everything that Optuna knows."""
    trials = read_study(home, "one").trials
    assert runs.outcomes == {trial.key: trial.outcome.value for trial in trials}
    assert runs.points == {(trial.key, epoch) for trial in trials for epoch in range(1, trial.epochs + 1)}


@pytest.mark.parametrize("writes", [2, 5, 10, 12, 13, 14, 15, 16])
def test_a_disk_that_is_full_only_for_the_spool(
    study: StudyFolder, home: Home, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    """Optuna's file may have space when the spool has none. Events that were only in memory are sent again."""
    runs, disk = Runs(), FullAfter(writes)
    real_open = io.FileIO

    class File(io.FileIO):
        def write(self, line: Any) -> int:
            disk.take()
            return super().write(line)

    def open_file(path: Any, mode: str) -> io.FileIO:
        return (File if Path(path).name == "spool.jsonl" else real_open)(path, mode)

    with monkeypatch.context() as patch:
        patch.setattr("distune.tracking.spool.io.FileIO", open_file)
        said = stop_reason_with_tracker(study, runs, Witness())
    assert "free some space, then run: distune resume one" in (said or "")
    assert disk.num_refused > 0
    assert stop_reason_with_tracker(study, runs, Witness()) is None
    assert_all_tracked(runs, home)


def test_a_disk_that_is_full_at_any_write_of_a_confirmation(
    home: Home, make_loaded: MakeLoaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops with a clear message, fails no run, and has the same result in the end as on a disk with space."""
    loaded = make_loaded(search={"num_trials": 1}, training={"epochs": 2})
    found: dict[str, ConfirmationResult] = {}
    words: list[str] = []
    outcomes: set[Outcome] = set()
    for name in ("calm", "one"):
        study = create_study(loaded, home, name=name, simulate=True, runner="local", replace=False)
        run(study)
        for writes in range(1000 if name == "calm" else 0, 2000):
            witness = Witness()
            status = read_study(home, name)
            plan = plan_confirmation(study, status, loaded.experiment, top=1, num_seeds=2, teacher_weights=None)
            try:
                with monkeypatch.context() as patch:
                    install(patch, FullAfter(writes))
                    answer = run_confirmation(
                        study, plan, metric="AP", has_test=True, state="finished", tracker=witness, callback=witness
                    )
            except StudyStoppedError as error:
                words.append(str(error))
            else:
                assert answer is not None
                found[name] = answer
                break
            finally:
                assert witness.study_ends in ([], ["finished"])
                outcomes |= set(witness.outcomes().values())
    assert len(words) > 5
    assert all("free some space, then run: distune confirm one, with the same options" in each for each in words)
    assert outcomes == {Outcome.FINISHED, Outcome.INTERRUPTED}
    assert found["one"] == found["calm"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB, where this process may mount one."""
    path = tmp_path / "disk"
    path.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)], capture_output=True)
    if made.returncode != 0:
        pytest.skip("file systems cannot be mounted here")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_disk_that_is_really_full(small_disk: Path, make_loaded: MakeLoaded) -> None:
    home = Home(small_disk)
    study = create_study(make_loaded(search=SEARCH), home, name="one", simulate=True, runner="local", replace=False)
    filling = small_disk / "filling"
    with contextlib.suppress(OSError), filling.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)
    with pytest.raises(StudyStoppedError, match="free some space, then run: distune resume one"):
        run(study)
    with pytest.raises(StudyError, match="study two cannot be created in"):
        create_study(make_loaded(), home, name="two", simulate=True, runner="local", replace=False)
    assert [path.name for path in home.studies.iterdir()] == ["one"]
    filling.unlink()
    run(study)
    status = read_study(home, "one")
    assert status.state == "finished"
    assert all(trial.state is not TrialState.FAIL for trial in status.trials)


@pytest.mark.parametrize("epochs", [2, 12])
def test_a_disk_that_is_really_full_during_a_session(small_disk: Path, make_loaded: MakeLoaded, epochs: int) -> None:
    """With a real spool and a real database, which run out of space at different times."""
    home, runs = Home(small_disk), Runs()
    study = create_study(make_loaded(search=SEARCH), home, name="one", simulate=True, runner="local", replace=False)
    filling = small_disk / "filling"

    class Filler(Witness):
        def on_epoch_end(self, spec: Any, report: Any, decision: Any) -> None:
            super().on_epoch_end(spec, report, decision)
            if len(self.decisions) == epochs:
                with contextlib.suppress(OSError), filling.open("wb", buffering=0) as file:
                    while True:
                        file.write(b"\0" * 512)

    said = stop_reason_with_tracker(study, runs, Filler())
    assert "free some space" in (said or "")
    filling.unlink()
    assert stop_reason_with_tracker(study, runs, Witness()) is None
    assert_all_tracked(runs, home)


@pytest.mark.parametrize("content", [b"", b'{"state": "runn', b"[]", b'{"state": "finished"}', b"\0\0\0"])
def test_a_damaged_session_note_is_ignored(
    study: StudyFolder, home: Home, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    study.session_file.write_bytes(content)
    assert read_study(home, "one").state == "interrupted"
    run(study)
    assert read_study(home, "one").state == "finished"
    assert "session.json is damaged" in caplog.text


@pytest.mark.parametrize("content", [b"", b'{"name": "on', b"[]", b'{"name": "one"}'])
def test_a_damaged_study_is_reported(study: StudyFolder, content: bytes) -> None:
    study.study_file.write_bytes(content)
    with pytest.raises(StudyError, match=r"study\.json"):
        run(study)


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/a/last.pt"), "free some space"),
        (sqlite3.OperationalError("database or disk is full"), "free some space"),
        (OSError(errno.EROFS, "Read-only file system"), "make it writable"),
        (PermissionError(errno.EACCES, "Permission denied"), "make it writable"),
        (OSError(errno.EIO, "Input/output error"), "fix the cause"),
        ("connection to postgresql://ann:secret@db/x refused", "fix the cause"),
    ],
)
def test_messages_of_a_study_that_stops(error: Exception | str, remedy: str) -> None:
    text = str(stopped_error("one", error))
    assert f"{remedy}, then run: distune resume one" in text
    assert "secret" not in text
    assert "\n" not in text
