"""Objectives of tests, and what to run them on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from distune.config.distillation import DistillationSettings
from distune.config.paths import merge
from distune.detectors.taps import Instances, StudentTaps, TeacherTaps, View
from distune.distillation.build import build_objective
from distune.distillation.objective import Objective

MakeTaps = Callable[..., tuple[StudentTaps, TeacherTaps]]
Batch = tuple[View, View, Instances]
TERMS = {"global_knowledge", "local_knowledge", "soft_labels"}
RAW: dict[str, Any] = {
    "global_knowledge": {"weight": 5.0, "unit": "raw"},
    "local_knowledge": {"weight": 1.0, "unit": "raw", "base_size_px": 6.0},
    "soft_labels": {"weight": 1.0, "unit": "raw"},
}
"""Raw weights: the class scores of sampled taps do not come from their maps, so soft labels send no gradient there."""
FEATURE_PASS = {"kind": "feature_pass", "max_images": 50}


def build(changes: dict[str, Any] | None = None, **arguments: Any) -> Objective:
    values: dict[str, Any] = {"min_box_side_px": 8.0, "per_class": 3, "density_quantile": 0.2}
    base = {"preset": "gkd_global", "prototypes": values, **RAW}
    settings = DistillationSettings.model_validate(merge(base, changes or {}))
    known: dict[str, Any] = {
        "num_classes": 3,
        "strides": (8, 16, 32),
        "student_channels": (6, 6, 6),
        "teacher_channels": (8, 8, 8),
        "score_kind": "sigmoid",
        "base_size_px": 56.0,
        "num_epochs": 4,
        "seed": 0,
    }
    return build_objective(settings, **(known | arguments))


def source(make_taps: MakeTaps, **arguments: Any) -> Callable[[int], Iterator[Batch]]:
    def feature_pass(_: int) -> Iterator[Batch]:
        for seed in range(20, 24):
            student, teacher = make_taps(seed=seed, boxes_per_image=(6, 6), **arguments)
            neck = {s: m.detach() for s, m in student.neck.items()}
            yield View(neck, student.instances.frame), teacher.view, student.instances

    return feature_pass


def never(_: int) -> Iterator[Batch]:
    raise AssertionError("no feature_pass is needed here")


def with_prototypes(make_taps: MakeTaps, changes: dict[str, Any] | None = None, **arguments: Any) -> Objective:
    changes = dict(changes or {})
    changes["prototypes"] = {"source": FEATURE_PASS} | changes.get("prototypes", {})
    objective = build(changes, **arguments)
    objective.begin_epoch(1, source(make_taps))
    return objective


def values_of(losses: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(loss.detach()) for name, loss in losses.items()}


def run_epochs(objective: Objective, make_taps: MakeTaps, epochs: range) -> list[dict[str, float]]:
    """Trains nothing: two batches an epoch, which differ from epoch to epoch."""
    metrics = []
    for epoch in epochs:
        objective.begin_epoch(epoch, never)
        for step in range(2):
            objective(*make_taps(seed=10 * epoch + step, boxes_per_image=(7, 5)))
        metrics.append(objective.end_epoch())
    return metrics
