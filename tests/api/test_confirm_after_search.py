"""``search.confirm: race``: one command gives search and verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import distune
from distune.errors import DistuneError
from distune.records import EpochReport, TrialSpec
from distune.study.callback import Callback, Decision
from distune.study.status import StudyStatus
from support.command_line import run
from support.experiments import small_values

CHANGES: dict[str, Any] = {
    "search": {"num_trials": 5, "scheduler": {"kind": "none"}, "confirm": "race"},
    "tracking": {"enabled": False},
}


class Messages(Callback):
    """Keeps all messages."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def on_message(self, text: str) -> None:
        self.lines.append(text)


def test_a_launch_ends_with_a_verdict(tmp_path: Path) -> None:
    said = Messages()
    values = small_values(CHANGES)
    study = distune.launch(values, name="one", simulate=True, runner="local", home=tmp_path, callbacks=[said])
    assert any("then the best trials race under other seeds" in line for line in said.lines)
    result = study.confirmation
    assert result is not None
    assert (len(result.candidates), len(result.selection_seeds), result.max_seeds) == (4, 3, 20)
    assert result.is_decided or len(result.seeds) == 20
    assert study.gain == result.gain.mean


def test_the_progress_of_a_race_is_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    distune.launch(small_values(CHANGES), name="one", simulate=True, runner="local", home=tmp_path)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("trial confirm-")]
    assert next(line for line in lines if "ended]" in line).endswith("[1 of at most 49 runs ended]")


class Reader(Callback):
    """Reads the status of the study at each epoch, as another process does."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.found: list[StudyStatus] = []

    def on_epoch_end(self, spec: TrialSpec, report: EpochReport, decision: Decision) -> None:
        self.found.append(distune.load_study("one", home=self._home).status)


def test_the_status_shows_the_runs_of_a_race(tmp_path: Path) -> None:
    values = small_values({**CHANGES, "search": {**CHANGES["search"], "confirm": "none"}})
    study = distune.launch(values, name="one", simulate=True, runner="local", home=tmp_path, callbacks=[])
    reader = Reader(tmp_path)
    assert study.confirm(top=2, seeds=2, callbacks=[reader]) is not None
    first, last = reader.found[0].runs, reader.found[-1].runs
    assert (reader.found[0].state, first is None, last is None) == ("running", False, False)
    assert str(first).startswith("confirmation: 0 of at most 6 runs ended; confirm-")
    assert str(last).startswith("confirmation: 4 of at most 6 runs ended; confirm-")
    assert study.status.runs is None

    again = Reader(tmp_path)
    study.confirm(top=2, seeds=3, callbacks=[again])
    assert str(again.found[0].runs).startswith("confirmation: 0 of at most 4 runs ended"), "the other trial may win"


def test_a_resumed_search_is_confirmed_again(tmp_path: Path) -> None:
    study = distune.launch(
        small_values(CHANGES), name="one", simulate=True, runner="local", home=tmp_path, callbacks=[]
    )
    before = study.confirmation
    study.resume(num_trials=12, callbacks=[])
    after = study.confirmation
    assert before is not None
    assert after is not None
    assert {each.number for each in after.candidates} != {each.number for each in before.candidates}


def test_seeds_beyond_the_usual_number_do_not_stop_a_resumed_search(tmp_path: Path) -> None:
    values = small_values({**CHANGES, "search": {**CHANGES["search"], "confirm": "none", "num_trials": 1}})
    study = distune.launch(values, name="one", simulate=True, runner="local", home=tmp_path, callbacks=[])
    assert study.confirm(top=1, seeds=21, callbacks=[]) is not None
    study.resume(num_trials=2, overrides={"search.confirm": "race"}, callbacks=[])
    assert study.status.state == "finished"
    assert study.confirmation is not None
    assert len(study.confirmation.seeds) >= 21
    assert study.confirm(top=1, until_decided=True, callbacks=[]) is not None


def test_an_interrupted_race_is_said_to_be_interrupted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTUNE_HOME", str(tmp_path / "home"))
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(small_values(CHANGES)))
    monkeypatch.setattr("distune.api.confirm_study.run_confirmation", lambda *_, **__: None)
    answer = run(capsys, monkeypatch, "launch", str(file), "--name", "one", "--simulate", "--runner", "local")
    assert answer.status == 1
    assert "the confirmation of study one was interrupted; continue with: distune resume one" in answer.err


def test_a_study_without_a_finished_trial_is_not_confirmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTUNE_SIMULATION", '{"faults": {"*": {"epoch": 1, "kind": "nan"}}}')
    with pytest.raises(DistuneError, match="no trial has finished"):
        distune.launch(small_values(CHANGES), name="one", simulate=True, runner="local", home=tmp_path, callbacks=[])
    assert distune.load_study("one", home=tmp_path).confirmation is None
