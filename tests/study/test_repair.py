"""Records that are lost or damaged: nothing trained is erased, and `distune repair` rebuilds what it can."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distune.api.repair_study import Repair, repair_study
from distune.config.home import Home
from distune.errors import StudyError
from distune.records import EpochReport, Outcome
from distune.study.create import create_study
from distune.study.files.study_folder import StudyFolder
from distune.study.repair.folder_record import SpoolRecord, read_folder_record
from distune.study.session import run_session
from distune.study.status import best_trial, read_study
from distune.training.trial_folder import TrialFolder
from study.harness import METRIC, SPACE, MakeLoaded, Witness
from support.command_line import run as command
from support.prepared import copy_prepared

SEARCH = {"num_trials": 6}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def make_study(home: Home, make_loaded: MakeLoaded) -> Callable[..., StudyFolder]:
    def make(name: str = "one", **settings: Any) -> StudyFolder:
        loaded = make_loaded(**{"search": SEARCH, "tracking": {"enabled": False}, **settings})
        return create_study(loaded, home, name=name, simulate=True, runner="local", replace=False)

    return make


@pytest.fixture
def make_finished(home: Home, make_loaded: MakeLoaded) -> Callable[..., StudyFolder]:
    """Makes a copy of a study that has ended, in the home."""

    def copy(name: str = "one") -> StudyFolder:
        def make(root: Path) -> None:
            loaded = make_loaded(search=SEARCH, tracking={"enabled": False})
            run(create_study(loaded, Home(root), name=name, simulate=True, runner="local", replace=False))

        copy_prepared(("repair", name), make, home.root)
        return StudyFolder(home.study(name))

    return copy


def run(study: StudyFolder, *, stop_after: int | None = None, num_trials: int | None = None) -> Witness:
    """Run a session to its end, or until some epochs are recorded."""

    class Stopper(Witness):
        def on_epoch_end(self, *args: Any) -> None:
            super().on_epoch_end(*args)
            if len(self.decisions) == stop_after:
                raise KeyboardInterrupt

    witness = Stopper()
    run_session(study, tracker=witness, callback=witness, teacher_weights=None, num_trials=num_trials)
    return witness


def rows(home: Home, name: str = "one") -> list[Any]:
    return [
        (each.key, each.params, each.outcome, each.epochs, each.metrics.get(METRIC), each.reason)
        for each in read_study(home, name).trials
    ]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def delete(study: StudyFolder) -> None:
    for path in study.path.glob("optuna.db*"):
        path.unlink()


def empty(study: StudyFolder) -> None:
    delete(study)
    study.database.touch()


def garble(study: StudyFolder) -> None:
    delete(study)
    study.database.write_bytes(b"no database at all" * 100)


def cut(study: StudyFolder) -> None:
    content = study.database.read_bytes()
    study.database.write_bytes(content[: len(content) // 3])


def forget_last_trials(study: StudyFolder) -> None:
    """Leave the records of an older copy."""
    with sqlite3.connect(study.database) as file:
        file.execute("DELETE FROM trials WHERE number >= 3")
    file.close()


DAMAGES = [delete, empty, garble, cut, forget_last_trials]


@pytest.mark.parametrize("damage", DAMAGES)
def test_trained_trials_without_records_are_kept_and_their_records_rebuilt(
    make_finished: Callable[..., StudyFolder], home: Home, damage: Callable[[StudyFolder], None]
) -> None:
    study = make_finished()
    expected, kept = rows(home), files(study.trials)
    damage(study)
    with pytest.raises((StudyError, Exception), match="distune repair one"):
        run(study)
    assert files(study.trials) == kept, "a session erases nothing"
    result = repair_study(study, home)
    assert result.found
    assert result.done
    assert rows(home) == expected
    assert files(study.trials) == kept
    assert repair_study(study, home) == Repair(study="one"), "a healthy study is not changed"
    run(study, num_trials=8)
    assert rows(home)[: len(expected)] == expected
    assert len(rows(home)) == 9


@pytest.mark.parametrize("stop_after", [3, 11, 17, 24])
def test_an_interrupted_study_continues_as_if_its_records_had_not_been_lost(
    make_study: Callable[..., StudyFolder], make_finished: Callable[..., StudyFolder], home: Home, stop_after: int
) -> None:
    make_finished("calm")
    study = make_study()
    run(study, stop_after=stop_after)
    delete(study)
    repair_study(study, home)
    run(study)
    assert [row[1:] for row in rows(home)] == [row[1:] for row in rows(home, "calm")]


def test_an_older_copy_that_knows_a_trial_as_running_does_not_end_it_otherwise(
    make_study: Callable[..., StudyFolder], home: Home, tmp_path: Path
) -> None:
    study = make_study()
    run(study, stop_after=20)
    shutil.copyfile(study.database, tmp_path / "older.db")
    run(study)
    expected = rows(home)
    delete(study)
    shutil.copyfile(tmp_path / "older.db", study.database)
    repair_study(study, home)
    run(study)
    assert rows(home) == expected


def test_status_names_the_trials_that_are_missing(
    make_study: Callable[..., StudyFolder], home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setenv("DISTUNE_HOME", str(home.root))
    study = make_study(search={"num_trials": 1})
    run(study)
    delete(study)
    with pytest.raises(StudyError, match="lack trials control-1, 0, which were trained"):
        best_trial(read_study(home, "one"))
    answer = command(capsys, monkeypatch, "status", "one")
    assert answer.status == 0
    assert "distune repair one" in " ".join(answer.out.split())
    assert json.loads(command(capsys, monkeypatch, "repair", "one", "--json").out)["done"]
    assert "nothing to repair" in command(capsys, monkeypatch, "repair", "one").out
    assert command(capsys, monkeypatch, "resume", "one").status == 0


def test_a_folder_without_an_epoch_is_cleaned(make_study: Callable[..., StudyFolder], home: Home) -> None:
    study = make_study(search={"num_trials": 1})
    study.trial(0).path.mkdir(parents=True)
    (study.trial(0).path / "trial.json").write_text("{}")
    run(study)
    assert [row[0] for row in rows(home)] == ["control-1", "0"]


@pytest.mark.parametrize("place", ["trial.json", "the folder"])
def test_a_trial_whose_parameters_are_lost_takes_its_number_and_has_failed(
    make_finished: Callable[..., StudyFolder], home: Home, place: str
) -> None:
    study = make_finished()
    expected = rows(home)
    delete(study)
    if place == "trial.json":
        (study.trial(2).path / place).write_text("{")
    else:
        shutil.rmtree(study.trial(2).path)
    repair_study(study, home)
    found = rows(home)
    assert (found[3][0], found[3][2]) == ("2", Outcome.FAILED)
    assert found[:3] + found[4:] == expected[:3] + expected[4:]


def test_a_journal_with_a_damaged_line(make_study: Callable[..., StudyFolder], home: Home) -> None:
    study = make_study(search={**SEARCH, "storage": "journal"})
    run(study)
    expected = rows(home)
    lines = study.journal.read_bytes().split(b"\n")
    study.journal.write_bytes(b"\n".join([*lines[:10], b"{damaged", *lines[11:]]))
    for call in (lambda: read_study(home, "one"), lambda: run(study)):
        with pytest.raises(StudyError, match=r"optuna\.journal.*distune repair one"):
            call()
    repair_study(study, home)
    assert rows(home) == expected


def test_objectives_of_a_study_with_costs_are_rebuilt(make_study: Callable[..., StudyFolder], home: Home) -> None:
    parameters = {**SPACE["parameters"], "student.fpn_channels": {"kind": "int", "low": 16, "high": 64}}
    search = {**SEARCH, "costs": ["parameters"], "scheduler": {"kind": "none"}}
    study = make_study(search=search, space={"name": "sized", "parameters": parameters})
    run(study)
    front = [trial.key for trial in read_study(home, "one").pareto_front]
    delete(study)
    repair_study(study, home)
    assert [trial.key for trial in read_study(home, "one").pareto_front] == front != []


def report(epoch: int, score: float, **more: float) -> EpochReport:
    return EpochReport(epoch=epoch, metrics={METRIC: score, "loss/task": 1.0, **more}, finished_at=10.0 + epoch)


@pytest.mark.parametrize(
    ("scores", "loss", "checkpoint", "simulated", "outcome"),
    [
        ((1.0, 2.0, 3.0), 1.0, False, False, Outcome.FINISHED),
        ((1.0, 2.0), 1.0, False, False, Outcome.STOPPED),
        ((1.0, 2.0), 1.0, False, True, None),
        ((1.0, 2.0), 1.0, True, False, None),
        ((1.0, 2.0), float("nan"), True, False, Outcome.DIVERGED),
        ((), 1.0, False, False, None),
    ],
)
def test_the_end_of_a_trial_of_an_earlier_version_is_inferred(
    tmp_path: Path,
    scores: tuple[float, ...],
    loss: float,
    checkpoint: bool,
    simulated: bool,
    outcome: Outcome | None,
) -> None:
    folder = TrialFolder(tmp_path / "0")
    folder.path.mkdir()
    (folder.path / "trial.json").write_text('{"params": {"a": 1}}')
    for epoch, score in enumerate(scores, start=1):
        folder.append(report(epoch, score, **{"loss/task": loss if epoch == len(scores) else 1.0}))
    if checkpoint:
        folder.last_checkpoint.touch()
    record = read_folder_record(tmp_path, 0, SpoolRecord(), metric=METRIC, costs=(), num_epochs=3, simulated=simulated)
    assert record.params == {"a": 1}
    assert (None if record.ended is None else record.ended.outcome) is outcome
    assert record.values == ((3.0,) if outcome is Outcome.FINISHED else ())


def copy_study(study: StudyFolder, home: Home, name: str) -> StudyFolder:
    shutil.copytree(study.path, home.study(name))
    return StudyFolder(home.study(name))


@pytest.mark.parametrize("storage", [None, "journal"])
def test_a_copied_study_is_refused_until_it_has_a_key_of_its_own(
    make_study: Callable[..., StudyFolder], home: Home, storage: str | None
) -> None:
    study = make_study(search={**SEARCH, "storage": storage})
    run(study)
    before = rows(home)
    copy = copy_study(study, home, "two")
    (copy.path / "spool.offset").write_text("17")
    assert (study.copied_from(), copy.copied_from()) == (None, "one")
    assert read_study(home, "two").copied_from == "one"
    with pytest.raises(StudyError, match=r"study two is a copy of study one.*distune repair two"):
        run(copy, num_trials=8)
    result = repair_study(copy, home)
    assert "copy of study one" in result.found[0]
    assert copy.identity().name == "two"
    assert copy.identity().tracking_key != study.identity().tracking_key
    assert not (copy.path / "spool.offset").exists(), "its records are sent under its own key"
    assert rows(home, "two") == rows(home) == before
    assert repair_study(copy, home) == Repair(study="two")
    run(copy, num_trials=8)
    run(study)


def test_a_renamed_study_is_no_copy(make_finished: Callable[..., StudyFolder], home: Home) -> None:
    study = make_finished()
    study.path.rename(home.study("two"))
    assert StudyFolder(home.study("two")).copied_from() is None
    run(StudyFolder(home.study("two")), num_trials=7)
    copy_study(StudyFolder(home.study("two")), home, "three")
    assert [StudyFolder(home.study(name)).copied_from() for name in ("two", "three")] == [None, "two"]


def copy_home(home: Home, name: str) -> Home:
    copy = Home(home.root.with_name(name))
    shutil.copytree(home.root, copy.root)
    return copy


SERVER = {"tracking": {"enabled": True, "uri": "http://127.0.0.1:9"}}


def test_a_study_in_a_copied_home_that_shares_a_tracking_server_gets_a_key_of_its_own(
    make_study: Callable[..., StudyFolder], home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distune.api.repair_study._repair_tracking", lambda *_: None)  # no server is there
    study = make_study(**SERVER)
    run(study)
    other = copy_home(home, "copy")
    copy = StudyFolder(other.study("one"))
    assert read_study(other, "one").copied_from == str(study.path)
    with pytest.raises(StudyError, match=r"study one is a copy of study .*/home/studies/one.*distune repair one"):
        run(copy, num_trials=8)
    assert rows(other) == rows(home)
    assert "is a copy" in repair_study(copy, other).found[0]
    assert copy.identity().tracking_key != study.identity().tracking_key
    assert rows(other) == rows(home)
    run(copy, num_trials=8)
    assert repair_study(copy, other) == Repair(study="one")
    run(study, num_trials=7)
    third = copy_home(other, "third")
    shutil.rmtree(other.root)
    run(StudyFolder(third.study("one")), num_trials=9)


def test_a_home_that_is_moved_linked_or_has_a_store_of_its_own_is_no_copy(
    make_study: Callable[..., StudyFolder], home: Home
) -> None:
    study, local = make_study(**SERVER), make_study("local", tracking={"enabled": True})
    run(study)
    run(local)
    link = Home(home.root.with_name("link"))
    link.root.symlink_to(home.root)
    run(StudyFolder(link.study("one")), num_trials=7)
    run(study, num_trials=8)
    other = copy_home(home, "copy")
    assert read_study(other, "local").copied_from is None, "both write into their own homes"
    shutil.rmtree(other.root)
    moved = Home(home.root.with_name("moved"))
    link.root.unlink()
    home.root.rename(moved.root)
    run(StudyFolder(moved.study("one")), num_trials=9)
    assert read_study(copy_home(moved, "home"), "one").copied_from == str(moved.study("one"))
    assert read_study(moved, "one").copied_from is None


def test_a_key_of_its_own_on_request(make_finished: Callable[..., StudyFolder], home: Home) -> None:
    study = make_finished()
    before, expected = study.identity(), rows(home)
    assert "a key of its own" in repair_study(study, home, new_key=True).done[-1]
    assert study.identity().tracking_key != before.tracking_key
    assert rows(home) == expected
    run(study, num_trials=7)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"folder": 3}', b'{"folder": "a\\u0000b"}', b"[" * 99_999])
def test_a_damaged_record_of_the_place_is_written_again(
    make_study: Callable[..., StudyFolder], home: Home, content: bytes
) -> None:
    study = make_study(search={"num_trials": 1}, **SERVER)
    (study.path / "place.json").write_bytes(content)
    assert read_study(home, "one").copied_from is None
    run(study)
    assert json.loads((study.path / "place.json").read_bytes()) == {"folder": str(study.path)}


def test_the_record_of_a_teacher_follows_a_moved_home(home: Home, make_study: Callable[..., StudyFolder]) -> None:
    study = make_study()
    weights = home.teachers / "abc" / "best.pt"
    weights.parent.mkdir(parents=True)
    weights.touch()
    study.write_teacher(weights, {METRIC: 1.0})
    assert json.loads(study.teacher_file.read_bytes())["weights"] == "teachers/abc/best.pt"
    former = study.path / "former.json"
    former.write_text(json.dumps({"weights": str(weights), "metrics": {}}))
    moved = Home(home.root.with_name("moved"))
    home.root.rename(moved.root)
    study = StudyFolder(moved.study("one"))
    for place in (study.teacher_file, study.path / "former.json"):
        place.replace(study.teacher_file)
        teacher = study.teacher()
        assert teacher is not None
        assert teacher.weights == moved.teachers / "abc" / "best.pt"
