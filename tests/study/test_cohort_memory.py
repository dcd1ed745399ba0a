"""The memory of a cohort, estimated from the models."""

from __future__ import annotations

import pytest

from distune.detectors.zoo import build_detector
from distune.study.planning import cohort_memory
from distune.study.planning.cohort_memory import WorkerMemory, memory_of_worker
from support.experiments import small_experiment

GB = 1e9


@pytest.mark.parametrize(
    ("available", "student", "teacher", "expected"),
    [(8 * GB, 0.5 * GB, 0.0, 8), (8 * GB, 0.5 * GB, 1.0 * GB, 6), (1 * GB, 2 * GB, 1 * GB, 1)],
)
def test_half_of_the_memory_is_for_students(available: float, student: float, teacher: float, expected: int) -> None:
    assert WorkerMemory(available=available, student=student, teacher=teacher).most_students == expected


def test_a_student_holds_weights_gradients_and_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cohort_memory, "_free_main_memory", lambda: 4 * GB)
    experiment = small_experiment({"resources": {"gpus_per_trial": 0}})
    memory = memory_of_worker(experiment, num_workers=2)
    settings = experiment.student.from_scratch()
    student = build_detector(settings, classes=("object",), min_size_px=64, max_size_px=64, seed=0)
    weights = 4 * sum(each.numel() for each in student.model.parameters())
    assert memory.available == 2 * GB
    assert 4 * weights < memory.student < 5 * weights
    assert memory.teacher > 0


def test_an_experiment_for_gpus_has_a_plan_on_a_machine_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cohort_memory, "available_gpus", lambda: 0)
    for gpus in (1, 0.5):
        memory = memory_of_worker(small_experiment({"resources": {"gpus_per_trial": gpus}}), num_workers=1)
        assert memory.most_students > 8
