"""The teacher that a study's scores are compared with: the student's own one, on the classes that it knows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import distune
from distune.api.own_teacher import own_teacher
from distune.config.home import Home
from distune.explanation.explanation import Explanation
from distune.explanation.finding import Finding
from distune.study.files.study_folder import StudyFolder
from distune.training import checkpoint
from support.command_line import run
from support.trained_study import NAME

OTHER = "0123456789abcdef"


def rewrite(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def teacher_folder(home: Path) -> Path:
    (found,) = (home / "teachers").iterdir()
    return found


@pytest.fixture
def other_teacher(trained_home: Path) -> Path:
    """A second teacher, with which the best trial was trained."""
    folder = shutil.copytree(teacher_folder(trained_home), trained_home / "teachers" / OTHER)
    best = distune.load_study(NAME).best_trial
    rewrite(folder / "teacher.json", metrics=dict.fromkeys(best.metrics, 77.7))
    trial = trained_home / "studies" / NAME / "trials" / best.key / "trial.json"
    rewrite(trial, teacher_weights=f"teachers/{OTHER}/best.pt")
    return folder


def finding(explanation: Explanation) -> Finding:
    return next(each for each in explanation.findings if each.check == "teacher")


def test_a_student_is_explained_with_its_own_teacher(other_teacher: Path) -> None:
    content = checkpoint.load(other_teacher / "best.pt")
    assert content is not None
    content["model"]["head.classification_head.cls_logits.bias"] -= 100
    checkpoint.save(content, other_teacher / "best.pt")  # it finds nothing
    explanation = distune.load_study(NAME).explain(callbacks=[])
    assert explanation.tables[0].note.startswith("student: trial ")
    assert ", teacher: teacher 01234567; " in explanation.tables[0].note
    assert [row[1] for row in explanation.tables[0].rows] == [0.0] * len(explanation.tables[0].rows)
    assert "teacher 01234567 " in finding(explanation).text


def test_a_missing_teacher_is_replaced_by_its_own_records_and_not_by_the_teacher_of_the_study(
    other_teacher: Path,
) -> None:
    (other_teacher / "best.pt").unlink()
    study = distune.load_study(NAME)
    study.weights(-1).unlink()  # so that nothing is detected
    explanation = study.explain(callbacks=[])
    assert any("teacher 01234567 is not ready" in note for note in explanation.notes)
    assert finding(explanation).details["AP"]["lead"] > 50


def test_a_teacher_of_a_confirmation_has_its_number(other_teacher: Path) -> None:
    home = Home(other_teacher.parent.parent)
    folder = StudyFolder(home.study(NAME))
    trial = folder.trial(distune.load_study(NAME).best_trial.number).path
    arm = shutil.copytree(trial, folder.path / "confirmation" / "seed-1001" / f"{trial.name}-teacher-2")
    found = own_teacher(folder, home, arm)
    assert found is not None
    assert (found.name, found.weights) == ("teacher 2", other_teacher / "best.pt")
    assert own_teacher(folder, home, folder.trial(-1).path) is None, "a control has none"


@pytest.fixture
def partial_teacher(trained_home: Path) -> str:
    """Make the teacher of the study one of another class; return the class that it does not know."""
    file = teacher_folder(trained_home) / "best.pt"
    content = checkpoint.load(file)
    assert content is not None
    known, unknown = content["classes"]
    content["classes"] = [known, "unicorn"]
    checkpoint.save(content, file)
    score = json.loads((trained_home / "studies" / NAME / "teacher.json").read_text())["metrics"][f"search/AP/{known}"]
    metrics = {"search/AP": score, f"search/AP/{known}": score}
    rewrite(trained_home / "studies" / NAME / "teacher.json", metrics=metrics)
    return str(unknown)


def test_a_teacher_that_lacks_a_class_is_compared_on_the_others(
    partial_teacher: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = distune.load_study(NAME)
    known = next(
        name for name in study.best_trial.metrics if name.startswith("search/AP/") and name[10:] != partial_teacher
    )
    scores = [f"{trial.metrics[known]:.1f}" for trial in (study.controls[0], study.best_trial)]

    answer = run(capsys, monkeypatch, "status", NAME)
    (line,) = [line for line in answer.out.splitlines() if line.startswith("teacher: ")]
    assert f"on the classes that it knows, without {partial_teacher}" in line
    assert line.endswith(f"on the same classes: control {scores[0]}, best trial {scores[1]}")

    explanation = study.explain(callbacks=[])
    table = explanation.tables[0]
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["AP"][0] is None, "it has no score of all classes"
    assert rows["AP, classes of teacher"][:3] == rows[f"AP/{known[10:]}"][:3]
    assert f"the teacher does not know {partial_teacher}" in table.note
    assert f"it does not know {partial_teacher}" in finding(explanation).text
    errors = next(each for each in explanation.tables if each.title.startswith("Errors by kind"))
    assert errors.note.endswith(f"the teacher does not know {partial_teacher}: it misses all their objects")
