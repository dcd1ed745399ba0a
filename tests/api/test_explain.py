"""Explanations of studies: of one that was trained, of simulated ones, and of one with missing files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import distune
from distune.api import study_detections
from distune.explanation.checks import CHECKS
from distune.explanation.finding import FindingState
from support.experiments import small_values

UNTRACKED = {"tracking": {"enabled": False}, "search": {"num_trials": 1}, "training": {"epochs": 2}}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DISTUNE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def launch(**options: Any) -> distune.Study:
    return distune.launch(small_values(UNTRACKED), name="one", runner="local", callbacks=[], **options)


@pytest.mark.slow
def test_a_trained_study_is_explained_and_detected_on_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = launch()
    result = study.explain(callbacks=[])
    assert sorted(each.check for each in result.findings) == sorted(CHECKS)
    assert result.summary.startswith("best trial 0, gain: ")
    assert [table.title.split(",")[0] for table in result.tables] == [
        "Average precision on the search split",
        "Errors by kind",
        "Objects found",
        "Errors that the teacher makes as well",
    ]
    for table in result.tables:
        assert all(len(row) == len(table.columns) for row in table.rows)
    objects = next(table for table in result.tables if table.title.startswith("Objects")).rows[0]
    numbers = dict(zip(result.tables[2].columns, objects, strict=True))
    counted = [numbers[name] for name in ("both", "student only", "control only", "neither")]
    assert sum(int(each or 0) for each in counted) == numbers["objects"]
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["study"] == "one"
    by_check = {each.check: each for each in result.findings}
    assert by_check["budget"].state is FindingState.UNKNOWN, "two epochs are no curve"
    assert by_check["training images"].details.keys() == {"train", "search"}
    assert by_check["data"].state is FindingState.PROBLEM, "four images are too few"

    monkeypatch.setattr(study_detections, "_predict", None)  # the kept detections are used
    assert study.explain(callbacks=[]) == result


@pytest.mark.slow
def test_missing_weights_are_noted_and_the_records_are_checked(home: Path) -> None:
    study = launch()
    study.weights(-1).unlink()
    result = study.explain(callbacks=[])
    assert any("control-1 (finished) has no student" in note for note in result.notes)
    by_check = {each.check: each for each in result.findings}
    assert by_check["labels"].state is FindingState.UNKNOWN
    assert by_check["teacher"].state is not FindingState.UNKNOWN, "its scores are recorded"
    assert [table.title for table in result.tables] == ["Average precision on the search split"]


def test_a_simulated_study_is_explained_from_what_it_has(home: Path) -> None:
    study = launch(simulate=True)
    result = study.explain(callbacks=[])
    assert result.simulated
    assert result.tables == ()
    assert not result.problems


def test_an_ablation_is_part_of_the_explanation(home: Path) -> None:
    study = launch(simulate=True)
    ablation = study.ablate(seeds=2, callbacks=[])
    assert ablation is not None
    (table,) = study.explain(callbacks=[]).tables
    assert table.title == "Ablation of trial 0, 2 seeds, search split"
    assert [row[0] for row in table.rows] == ["all terms", *(each.term for each in ablation.terms)]
    with pytest.raises(distune.DistuneError, match="seeds = 1 is less than the 2 of the ablation on record"):
        study.ablate(seeds=1, callbacks=[])
    again = study.ablate(callbacks=[])
    assert again is not None
    assert len(again.seeds) == 3, "the default is more than what is on record"


@pytest.mark.slow
def test_the_confirmed_student_is_compared_with_the_control_of_its_seed(home: Path) -> None:
    study = launch()
    confirmed = study.confirm(top=1, seeds=2, callbacks=[])
    assert confirmed is not None
    result = study.explain(callbacks=[])
    note = result.tables[0].note
    assert f"student: trial 0 (seed {confirmed.best_seed} of the confirmation)" in note
    assert f"control: control-seed-{confirmed.best_seed}" in note
