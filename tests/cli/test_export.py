"""``distune export`` on a small study with real training: folders, exit statuses, and what is left behind."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

import distune as api
from distune.api.export_student import FormatName
from distune.cli.export import FormatOption
from distune.export.formats import FORMATS
from distune.study.files.study_folder import StudyFolder
from support.command_line import Distune
from support.experiments import small_values

CHANGES: dict[str, Any] = {"tracking": {"enabled": False}, "search": {"num_trials": 1}, "training": {"epochs": 1}}


@pytest.fixture(scope="module")
def trained_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the study ``small``, trained once for all tests of this file."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTUNE_HOME", str(home))
        api.launch(small_values(CHANGES), runner="local", callbacks=[])
    return home


@pytest.fixture
def study(trained_home: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> StudyFolder:
    monkeypatch.setenv("DISTUNE_HOME", str(trained_home))
    return StudyFolder(trained_home / "studies" / "small")


def test_the_formats_are_the_same_everywhere() -> None:
    assert set(FORMATS) == set(get_args(FormatName)) == {each.value for each in FormatOption}


@pytest.mark.slow
def test_a_student_is_exported_and_not_overwritten(distune: Distune, study: StudyFolder) -> None:
    answer = distune("export", "small")
    assert answer.status == 0, answer.err
    target = study.path / "exports" / "0-torchvision"
    assert f"exported: {target}" in answer.out
    assert "difference: +0.00 AP; at most 0.1 is allowed" in answer.out
    assert "export: compared on 4 of 4 images" in answer.err
    assert sorted(each.name for each in target.iterdir()) == ["load_student.py", "model_card.md", "student.pt"]
    card = (target / "model_card.md").read_text()
    assert "not confirmed: one seed" in card
    assert "- train split: 8 images" in card

    again = distune("export", "small/0")
    assert again.status == 2
    assert f"{target} exists; give another folder, or replace it: --replace" in again.err
    (target / "student.pt").write_bytes(b"")
    assert distune("export", "small/0", "--replace", "--license", "apache-2.0").status == 0
    assert len(torch.load(target / "student.pt", weights_only=True)) > 10
    assert "apache-2.0" in (target / "model_card.md").read_text()
    (target / "mine.txt").write_text("notes")
    kept = distune("export", "small/0", "--replace")
    assert kept.status == 2
    assert "it holds more than an export, such as mine.txt" in kept.err
    assert [each.name for each in target.parent.iterdir()] == ["0-torchvision"]


@pytest.mark.slow
def test_teacher_and_control_in_a_folder_of_choice_as_json(
    distune: Distune, study: StudyFolder, tmp_path: Path
) -> None:
    answer = distune("export", "small/teacher", "--output", str(tmp_path / "t"), "--images", "2", "--json")
    assert answer.status == 0, answer.err
    values = json.loads(answer.out)
    assert (values["trial"], values["folder"], values["split"]) == ("teacher", str(tmp_path / "t"), "search")
    assert values["parity"]["num_images"] == 2
    assert values["parity"]["ap_difference"] == 0
    assert study.confirmation.test_evaluations() == []
    answer = distune("export", "small/control", "--output", str(tmp_path / "c"), "--split", "test")
    assert answer.status == 0, answer.err
    assert "no other evaluation on record in this study; this one is recorded" in answer.out
    assert len(study.confirmation.test_evaluations()) == 1
    assert "without distillation (the control)" in (tmp_path / "c" / "model_card.md").read_text()


@pytest.mark.slow
def test_a_file_that_differs_is_not_left_behind(
    distune: Distune, study: StudyFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = {"boxes": torch.ones(1, 4), "labels": torch.ones(1, dtype=torch.int64), "scores": torch.ones(1)}
    broken = dataclasses.replace(FORMATS["torchvision"], load=lambda _: lambda _: extra)
    monkeypatch.setitem(FORMATS, "torchvision", broken)
    answer = distune("export", "small", "--output", str(tmp_path / "new"))
    assert answer.status == 1
    assert "student.pt differs from the detector on 4 images" in answer.err
    assert "nothing was exported" in answer.err
    assert not list(tmp_path.glob("*new*"))


@pytest.mark.slow
def test_mistakes_are_named(distune: Distune, study: StudyFolder, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for arguments, status, text in (
        (("small/9",), 2, "there is no trial 9; known are control-1, 0, teacher"),
        (("none",), 2, "none"),
        (("small", "--images", "0"), 2, "images = 0: must be at least 1"),
        (("small", "--output", str(tmp_path / "file")), 2, "is a file; give a folder"),
        (("small", "--format", "tflite"), 2, "torchvision"),
    ):
        answer = distune("export", *arguments)
        assert (answer.status, text in answer.err) == (status, True), answer.err


def test_a_simulated_study_has_nothing_to_export(distune: Distune, home: Path) -> None:
    api.launch(small_values(CHANGES), name="one", simulate=True, runner="local", callbacks=[])
    answer = distune("export", "one")
    assert answer.status == 2
    assert "it is simulated, so nothing was trained" in answer.err
