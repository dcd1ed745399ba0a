"""Requests that are refused, and change nothing; and the scores of students of a study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

import distune
from distune.errors import DistuneError, StudyError, UsageError
from support.experiments import small_values

SIMULATED: dict[str, Any] = {"simulate": True, "runner": "local", "callbacks": []}
UNTRACKED = {"tracking": {"enabled": False}}


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refuse(call: Callable[[], object], folder: Path, match: str, error: type[DistuneError] = UsageError) -> None:
    before = contents(folder)
    with pytest.raises(error, match=match) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert contents(folder) == before


def test_fewer_trials_or_seeds_than_are_on_record(tmp_path: Path) -> None:
    values = small_values({**UNTRACKED, "search": {"num_trials": 4}})
    study = distune.launch(values, name="one", home=tmp_path, **SIMULATED)
    refuse(lambda: study.resume(num_trials=3, callbacks=[]), tmp_path, "3 trials were asked for in total, and 4 have")
    assert study.num_trials == 4
    result = study.confirm(top=1, seeds=3, callbacks=[])
    match = r"seeds = 2 is less than the 3 of the confirmation on record; .*: distune confirm one --seeds 3"
    refuse(lambda: study.confirm(top=1, seeds=2, callbacks=[]), tmp_path, match, StudyError)
    refuse(lambda: study.confirm(seeds=1, metric="AP50", callbacks=[]), tmp_path, "seeds = 1 is less than", StudyError)
    assert study.confirm(top=1, seeds=3, callbacks=[]) == result
    assert study.confirm(top=1, seeds=4, callbacks=[]) is not None


def test_a_split_that_does_not_exist(tmp_path: Path) -> None:
    splits: Any = "train"
    refuse(
        lambda: distune.evaluate(small_values(UNTRACKED), tmp_path / "best.pt", split=splits),
        tmp_path,
        "split train: must be one of search, test",
    )


@pytest.mark.slow
def test_training_into_a_folder_with_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = small_values({**UNTRACKED, "training": {"epochs": 1}})
    home, other = tmp_path / "home", tmp_path / "photos"
    other.mkdir()
    (other / "holiday.jpg").write_bytes(b"picture")

    def train(folder: Path, **overrides: Any) -> distune.TrainedStudent:
        return distune.train(values, folder=folder, home=home, callbacks=[], control=True, overrides=overrides)

    refuse(lambda: train(other), tmp_path, "photos holds other files; name a new folder, or an empty one")
    refuse(lambda: train(other / "holiday.jpg"), tmp_path, "holiday.jpg is a file")
    (tmp_path / "empty").mkdir()
    first = train(tmp_path / "empty")
    monkeypatch.setattr("distune.api.single_run._TAKEOVER_TIMEOUT_S", 0.05)
    with FileLock(first.folder / "work.lock"):
        refuse(lambda: train(first.folder), tmp_path, "another process trains in")
    refuse(lambda: train(first.folder, **{"training.seed": 7}), tmp_path, "holds a training under other settings")
    refuse(lambda: train(first.folder, **{"training.epochs": 2}), tmp_path, "holds a training under other settings")
    assert train(first.folder).best == first.best


@pytest.mark.slow
def test_students_of_a_study_are_scored_with_its_settings(tmp_path: Path) -> None:
    values = small_values({**UNTRACKED, "search": {"num_trials": 1, "scheduler": {"kind": "none"}}})
    study = distune.launch(values, name="one", runner="local", callbacks=[], home=tmp_path)
    recorded = {trial.key: trial.metrics["search/AP"] for trial in study.status.trials}
    assert study.evaluate(callbacks=[])["search/AP"] == pytest.approx(recorded["0"])
    assert study.evaluate("control", callbacks=[])["search/AP"] == pytest.approx(recorded["control-1"])
    assert study.evaluate(-1, callbacks=[]) == study.evaluate("control-1", callbacks=[])
    teacher = study.evaluation("teacher", callbacks=[])
    assert teacher.name == "teacher"
    assert teacher.metrics["search/AP"] == pytest.approx(study.teacher_value)
    assert teacher.previous_test_evaluations is None
    assert not (study.path / "confirmation").exists(), "the search split is not counted"

    counts = [
        study.evaluation(trial, "test", callbacks=[]).previous_test_evaluations
        for trial in (0, 0, "control", "teacher")
    ]
    assert counts == [0, 0, 1, 2]
    result = study.confirm(top=1, seeds=1, callbacks=[])
    assert result is not None
    assert result.previous_test_evaluations == 3
    confirmed = study.evaluation(split="test", callbacks=[])
    assert (confirmed.weights, confirmed.previous_test_evaluations) == (study.best_weights, 4)
    for trial in (5, "control-3", "best.pt"):
        with pytest.raises(StudyError, match=f"there is no trial {trial}; known are control-1, 0, teacher"):
            study.evaluate(trial, callbacks=[])
    with pytest.raises(UsageError, match="split train: must be one of search, test"):
        study.evaluate(0, "train", callbacks=[])  # type: ignore[arg-type]
