"""The sizes that a study shows are those of the models that it has now."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from distune.api import measure_sizes
from distune.api.measure_sizes import known_sizes, study_sizes
from distune.config.experiment import Experiment
from distune.errors import WeightsError
from distune.records import Outcome, TrialRecord, TrialState
from distune.reports.model_sizes import ModelSize, ModelSizes
from distune.study.files.study_folder import StudyFolder
from distune.study.status import StudyStatus
from support.experiments import small_experiment

EXPERIMENT = small_experiment()


def record(number: int) -> TrialRecord:
    return TrialRecord(
        number=number,
        state=TrialState.COMPLETE,
        outcome=Outcome.FINISHED,
        control=number < 0,
        epochs=3,
        params={},
        metrics={"search/AP": 10.0 + number},
        seed=0,
    )


def status(*numbers: int) -> StudyStatus:
    trials = [record(number) for number in numbers]
    return StudyStatus(study="small", state="finished", metric="search/AP", trials=trials)


def save(file: Path, num_bytes: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(bytes(num_bytes))


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    """A study with a teacher, a control and two trials."""
    folder = StudyFolder(tmp_path / "studies" / "small")
    teacher = tmp_path / "teachers" / "one" / "best.pt"
    save(teacher, 400)
    for number in (-1, 0, 1):
        save(folder.trial(number).best_checkpoint, 100)
    folder.write_teacher(teacher, {})
    return folder


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Names of the models of each measurement."""
    calls: list[list[str]] = []

    def measure(_: Experiment, files: Mapping[str, Path]) -> ModelSizes:
        calls.append(list(files))
        models = [
            ModelSize(name=name, parameters=1, flops=1, latency_ms=1.0, file_bytes=file.stat().st_size)
            for name, file in files.items()
        ]
        return ModelSizes(device="CPU", image_size_px=64, models=tuple(models))

    monkeypatch.setattr(measure_sizes, "measure_sizes", measure)
    return calls


def test_models_are_measured_once(folder: StudyFolder, measured: list[list[str]]) -> None:
    assert known_sizes(folder, EXPERIMENT, status(-1, 0)) is None
    sizes = study_sizes(folder, EXPERIMENT, status(-1, 0))
    assert study_sizes(folder, EXPERIMENT, status(-1, 0, 1)) == sizes, "another trial of the same architecture"
    assert known_sizes(folder, EXPERIMENT, status(-1, 0)) == sizes
    assert measured == [["teacher", "control", "student"]]


def test_a_control_that_comes_later_is_measured(folder: StudyFolder, measured: list[list[str]]) -> None:
    study_sizes(folder, EXPERIMENT, status(0))
    assert known_sizes(folder, EXPERIMENT, status(-1, 0)) is None, "a report shows no table without the control"
    study_sizes(folder, EXPERIMENT, status(-1, 0))
    assert measured == [["teacher", "student"], ["teacher", "control", "student"]]


def test_a_study_without_control_shows_none(folder: StudyFolder, measured: list[list[str]]) -> None:
    study_sizes(folder, EXPERIMENT, status(-1, 0))
    assert known_sizes(folder, EXPERIMENT, status(0)) is None
    study_sizes(folder, EXPERIMENT, status(0))
    assert measured[-1] == ["teacher", "student"]


@pytest.mark.parametrize("name", ["teacher", "control", "student"])
def test_other_models_are_measured(folder: StudyFolder, measured: list[list[str]], name: str) -> None:
    study_sizes(folder, EXPERIMENT, status(-1, 0))
    teacher = folder.teacher()
    assert teacher is not None
    files = {
        "teacher": teacher.weights,
        "control": folder.trial(-1).best_checkpoint,
        "student": folder.trial(0).best_checkpoint,
    }
    save(files[name], 50)
    assert known_sizes(folder, EXPERIMENT, status(-1, 0)) is None
    sizes = study_sizes(folder, EXPERIMENT, status(-1, 0))
    assert sizes is not None
    assert [model.file_bytes for model in sizes.models if model.name == name] == [50]
    assert len(measured) == 2


def test_a_lost_file_keeps_its_size(folder: StudyFolder) -> None:
    sizes = study_sizes(folder, EXPERIMENT, status(-1, 0))
    folder.trial(-1).best_checkpoint.unlink()
    assert known_sizes(folder, EXPERIMENT, status(-1, 0)) == sizes


def test_sizes_of_other_models_are_removed_before_a_measurement_that_fails(
    folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    study_sizes(folder, EXPERIMENT, status(0))

    def fail(*_: object) -> ModelSizes:
        raise WeightsError("damaged")

    monkeypatch.setattr(measure_sizes, "measure_sizes", fail)
    with pytest.raises(WeightsError):
        study_sizes(folder, EXPERIMENT, status(-1, 0))
    assert not folder.sizes_file.exists()
