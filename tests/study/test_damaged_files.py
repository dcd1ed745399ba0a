"""Damaged, unreadable and read-only files of a study: a sentence with the file and the remedy, for every command."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distune.config.home import Home
from distune.errors import StudyError
from distune.records import EpochReport
from distune.study.create import create_study
from distune.study.files.study_folder import StudyFolder
from distune.study.session import run_session
from distune.study.status import best_trial, read_study
from distune.study.storage import read_trials
from study.harness import METRIC, MakeLoaded, Witness
from support.command_line import Answer
from support.command_line import run as command
from support.prepared import copy_prepared

READING = (("status",), ("best",))
REPORTING = (("report",), ("compare", "one/control"))
WRITING = (("resume",), ("confirm", "--top", "1", "--seeds", "2"), ("repair",))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("DISTUNE_HOME", str(tmp_path / "home"))
    return Home(tmp_path / "home")


@pytest.fixture
def study(home: Home, make_loaded: MakeLoaded) -> StudyFolder:
    def make(root: Path) -> None:
        loaded = make_loaded(search={"num_trials": 3, "scheduler": {"kind": "none"}}, tracking={"enabled": False})
        run(create_study(loaded, Home(root), name="one", simulate=True, runner="local", replace=False))

    copy_prepared("damaged files", make, home.root)
    return StudyFolder(home.study("one"))


def run(study: StudyFolder) -> Witness:
    witness = Witness()
    run_session(study, tracker=witness, callback=witness, teacher_weights=None)
    return witness


@pytest.fixture
def answers(
    study: StudyFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Answer]]:
    """Run commands on the study. Raises what no command handles."""

    def ask(*commands: tuple[str, ...]) -> dict[str, Answer]:
        return {name: command(capsys, monkeypatch, name, study.name, *options) for name, *options in commands}

    return ask


def assert_sentence(answer: Answer, *parts: str) -> None:
    """Check that a command failed with one error that has some parts."""
    assert answer.status in (1, 2), answer
    assert answer.err.count("error: ") == 1, answer.err
    assert "Traceback" not in answer.err
    for part in parts:
        assert part in " ".join(answer.err.split())


def test_a_damaged_database(study: StudyFolder, answers: Any) -> None:
    study.database.write_bytes(b"no database at all" * 100)
    for answer in answers(*READING, *REPORTING, *WRITING[:2]).values():
        assert_sentence(answer, "optuna.db", "distune repair one")


@pytest.mark.parametrize("table", ["trials", "trial_params"])
def test_a_value_in_the_database_that_only_optuna_reads(study: StudyFolder, answers: Any, table: str) -> None:
    change = {
        "trials": "UPDATE trials SET datetime_start = '20-1-11-29 21:27:11.801854'",
        "trial_params": "UPDATE trial_params SET distribution_json = '{'",
    }
    with contextlib.closing(sqlite3.connect(study.database)) as file, file:
        file.execute(change[table])
    assert_sentence(answers(("resume",))["resume"], "optuna.db", "distune repair one")
    assert answers(("repair",))["repair"].status == 0
    for answer in answers(*READING, ("resume", "--trials", "4")).values():
        assert answer.status == 0


@pytest.mark.parametrize(
    "content", [b'{"experiment": {', b"[]", b'{"experiment": 3, "space": []}', b"\xff", b"[" * 9999]
)
def test_damaged_settings(study: StudyFolder, answers: Any, content: bytes) -> None:
    study.record_file.write_bytes(content)
    for answer in answers(*READING).values():
        assert answer.status == 0
    for answer in answers(*WRITING[:2]).values():
        assert_sentence(answer, "settings.json", "distune repair one")
    assert "recorded the settings" in answers(("repair",))["repair"].out
    assert answers(("resume",))["resume"].status == 0


@pytest.mark.parametrize("name", ["space.yaml", "experiment.yaml"])
def test_damaged_settings_of_the_user(study: StudyFolder, answers: Any, name: str) -> None:
    before = study.load()
    (study.path / name).write_text("{")
    for answer in answers(*READING, *WRITING[:2]).values():
        assert_sentence(answer, name)
    assert "restored" in answers(("repair",))["repair"].out
    assert study.load().space == before.space
    assert answers(("resume",))["resume"].status == 0
    assert (study.path / f"{name}.before-repair-1").read_text() == "{"


@pytest.mark.parametrize(
    "values", [{"state": 5, "num_trials": 3}, {"state": "finished", "num_trials": "many"}, {"num_trials": True}, {}]
)
def test_a_session_note_of_odd_types(study: StudyFolder, answers: Any, values: dict[str, Any]) -> None:
    study.session_file.write_text(json.dumps(values))
    assert all(answer.status == 0 for answer in answers(*READING).values())
    assert "session.json is damaged" in " ".join(answers(("repair",))["repair"].out.split())
    note = study.session()
    assert note is not None
    assert note.num_trials == 3


@pytest.mark.parametrize(("name", "value"), [("key", [1]), ("simulate", "yes"), ("runner", 3), ("created_at", None)])
def test_an_identity_of_odd_types(study: StudyFolder, answers: Any, name: str, value: Any) -> None:
    values = json.loads(study.study_file.read_bytes())
    study.study_file.write_text(json.dumps({**values, name: value}))
    for answer in answers(*READING, *WRITING).values():
        assert_sentence(answer, "study.json", name, "restore it from a copy")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EIO])
def test_a_disk_without_locks(study: StudyFolder, answers: Any, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    for answer in answers(*READING).values():
        assert answer.status == 0
    for answer in answers(*WRITING).values():
        assert_sentence(answer, "session.lock cannot be locked", os.strerror(number))


def test_a_lock_file_that_cannot_be_opened(study: StudyFolder, answers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refuse(path: Any, *arguments: Any, **options: Any) -> int:
        if str(path).endswith("session.lock"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    for answer in answers(*WRITING).values():
        assert_sentence(answer, "session.lock cannot be locked", "make the study's folder writable")
    assert answers(("status",))["status"].status == 0


def test_a_file_that_cannot_be_read(study: StudyFolder, answers: Any) -> None:
    study.trial(1).metrics_file.unlink()
    study.trial(1).metrics_file.symlink_to(study.trial(1).metrics_file)  # a circle
    study.space_file.unlink()
    study.space_file.mkdir()
    for answer in answers(*READING).values():
        assert_sentence(answer, "space.yaml")


def test_reading_writes_nothing(study: StudyFolder, home: Home, answers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where SQLite cannot make the files that its readers share, as in a folder that is read-only."""
    monkeypatch.setattr(read_trials, "read_sqlite", lambda *_, **__: None)
    before = {path: path.stat().st_mtime_ns for path in home.root.rglob("*")}
    assert all(answer.status == 0 for answer in answers(*READING).values())
    assert {path: path.stat().st_mtime_ns for path in home.root.rglob("*")} == before


def test_a_damaged_study_does_not_hide_the_others(
    study: StudyFolder, home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(study.path, home.study("two"))
    (home.study("two") / "study.json").write_text("{}")
    answer = command(capsys, monkeypatch, "status")
    assert answer.status == 0
    assert "one" in answer.out
    assert "study.json" in answer.err


@pytest.mark.parametrize("loss", ["the folder", "its lines"])
def test_the_scores_of_a_trial_without_epochs_are_those_of_optuna(
    study: StudyFolder, home: Home, answers: Any, loss: str
) -> None:
    before = {trial.key: trial for trial in read_study(home, "one").trials}
    for number in (-1, 1):
        if loss == "the folder":
            shutil.rmtree(study.trial(number).path)
        else:
            study.trial(number).metrics_file.write_bytes(b"")
    status = read_study(home, "one")
    assert status.state == "finished"
    for trial in status.trials:
        assert (trial.epochs, trial.outcome) == (before[trial.key].epochs, before[trial.key].outcome)
        assert trial.metrics[METRIC] == pytest.approx(before[trial.key].metrics[METRIC])
    assert [line.partition(";")[0] for line in status.lost] == [
        f"trial {key}: its folder lacks all 9 epochs" for key in ("control-1", "1")
    ]
    assert best_trial(status)[1] is not None
    for name, answer in answers(*READING, *REPORTING, ("resume",), *WRITING).items():
        assert answer.status == 0, (name, answer.err)
    assert "lacks all 9 epochs" in " ".join(answers(("status",))["status"].out.split())


def test_an_epoch_that_is_lost_does_not_change_the_best_trial(study: StudyFolder, home: Home) -> None:
    leader, gain = best_trial(read_study(home, "one"))
    folder = study.trial(leader.number)
    best = max(folder.reports(), key=lambda each: each.metrics[METRIC])
    folder.keep(lambda each: each.epoch != best.epoch)
    status = read_study(home, "one")
    assert best_trial(status)[0].key == leader.key
    assert best_trial(status)[1] == pytest.approx(gain)
    assert f"epoch {best.epoch};" in status.lost[0]


def damage_line(study: StudyFolder, number: int, epoch: int, content: bytes = b"{damaged") -> None:
    file = study.trial(number).metrics_file
    lines = file.read_bytes().split(b"\n")
    lines[epoch - 1] = content
    file.write_bytes(b"\n".join(lines))


@pytest.mark.parametrize("command_name", ["status", "best"])
def test_damaged_lines_of_a_trial_are_told(study: StudyFolder, home: Home, answers: Any, command_name: str) -> None:
    """The scores of the same epochs in Optuna show the best epoch; without them it may be another one."""
    leader, gain = best_trial(read_study(home, "one"))
    best = max(study.trial(leader.number).reports(), key=lambda each: each.metrics[METRIC])
    damage_line(study, leader.number, best.epoch)
    (damaged,) = read_study(home, "one").damaged
    assert (damaged.trial, damaged.lines, damaged.may_change_best) == (leader.key, (best.epoch,), False)
    assert best_trial(read_study(home, "one"))[1] == pytest.approx(gain)
    told = f"{study.trial(leader.number).metrics_file} has 1 damaged line ({best.epoch})"
    answer = answers((command_name,))[command_name]
    assert told.replace(" ", "") in "".join(answer.out.split())
    assert "the best epoch stays the same" in " ".join(answer.out.split())

    with contextlib.closing(sqlite3.connect(study.database)) as file, file:
        file.execute("DELETE FROM trial_intermediate_values WHERE step = ?", (best.epoch,))
    (damaged,) = read_study(home, "one").damaged
    assert damaged.unknown == (best.epoch,)
    answer = answers((command_name,))[command_name]
    text = " ".join(answer.out.split())
    assert f"the score of epoch {best.epoch} is lost, so the best epoch may be another one" in text
    shown = json.loads(answers((command_name, "--json"))[command_name].out)
    assert shown["damaged_records"] == [str(damaged)]


def test_damaged_lines_after_the_last_epoch_are_counted(study: StudyFolder, home: Home) -> None:
    for epoch in (7, 8, 9):
        damage_line(study, 2, epoch)
    with contextlib.closing(sqlite3.connect(study.database)) as file, file:
        file.execute("DELETE FROM trial_intermediate_values WHERE step > 7")
    (damaged,) = read_study(home, "one").damaged
    assert (damaged.lines, damaged.unknown) == ((7, 8, 9), (8, 9))
    assert "the scores of epochs 8, 9 are lost" in str(damaged)


def test_an_interrupted_trial_without_epochs_is_not_trained_again_in_silence(
    home: Home, make_loaded: MakeLoaded
) -> None:
    loaded = make_loaded(search={"num_trials": 1, "controls": 0}, tracking={"enabled": False})
    study = create_study(loaded, home, name="one", simulate=True, runner="local", replace=False)

    class Stopper(Witness):
        def on_epoch_end(self, spec: Any, report: EpochReport, decision: Any) -> None:
            if report.epoch == 3:
                raise KeyboardInterrupt

    run_session(study, tracker=(witness := Stopper()), callback=witness, teacher_weights=None)
    shutil.rmtree(study.trial(0).path)
    assert "a resumed study trains it from the start" in read_study(home, "one").lost[0]
    assert any("its folder lacks all 3 epochs" in message for message in run(study).messages)
    assert read_study(home, "one").lost == ()


def test_a_study_that_cannot_be_locked_is_not_taken_for_a_running_one(study: StudyFolder) -> None:
    study.lock_file.unlink()
    study.lock_file.mkdir()
    assert not study.is_locked()
    with pytest.raises(StudyError, match=r"session\.lock cannot be locked"), study.lock():
        pass
