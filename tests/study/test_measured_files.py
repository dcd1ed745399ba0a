"""Measured values in the folder of a study: the teacher's metrics, and the sizes of the models."""

from __future__ import annotations

from pathlib import Path

import pytest

from distune.reports.model_sizes import ModelSize, ModelSizes
from distune.study.files.sizes_file import architecture_hash, read_sizes, write_sizes
from distune.study.files.study_folder import StudyFolder, StudyTeacher
from support.experiments import small_experiment

STUDENT = ModelSize(name="student", parameters=6, flops=3, latency_ms=2.0, file_bytes=24)
SIZES = ModelSizes(device="CPU, 1 thread", image_size_px=64, models=(STUDENT,))


def test_the_teacher_is_recorded(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    assert folder.teacher() is None
    folder.write_teacher(tmp_path / "best.pt", {"search/AP": 18.2})
    assert folder.teacher() == StudyTeacher(tmp_path / "best.pt", {"search/AP": 18.2})


@pytest.mark.parametrize("text", ["", "{", "[]", '{"weights": "x"}', '{"weights": "x", "metrics": [1]}'])
def test_a_damaged_record_of_the_teacher_is_ignored(tmp_path: Path, text: str) -> None:
    folder = StudyFolder(tmp_path)
    folder.teacher_file.write_text(text)
    assert folder.teacher() is None


def test_sizes_belong_to_architectures(tmp_path: Path) -> None:
    file = tmp_path / "sizes.json"
    assert read_sizes(file, "a") is None
    write_sizes(file, "a", SIZES)
    assert read_sizes(file, "a") == SIZES
    assert read_sizes(file, "b") is None
    assert read_sizes(file, None) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"architecture": "a"}', '{"architecture": "a", "models": [{}]}'])
def test_damaged_sizes_are_ignored(tmp_path: Path, text: str) -> None:
    file = tmp_path / "sizes.json"
    file.write_text(text)
    assert read_sizes(file, "a") is None


def test_only_the_architecture_counts() -> None:
    experiment = small_experiment()
    base = architecture_hash(experiment, {})
    assert base is not None
    assert architecture_hash(experiment, {"distillation.soft_labels.weight": 2.0}) == base
    assert architecture_hash(experiment, {"student.fpn_channels": 32}) not in (base, None)
    assert architecture_hash(experiment, {"student.nothing": 32}) is None
    other = small_experiment({"data": {"min_size_px": 96, "max_size_px": 96}})
    assert architecture_hash(other, {}) != base
