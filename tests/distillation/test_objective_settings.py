"""No setting of distillation is dead: each changes the losses of a short run, and the list of them is complete."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from distune.config.distillation import DistillationSettings
from distune.config.paths import leaf_paths, with_path
from distune.detectors.taps import Instances, NeckMaps, StudentTaps, TeacherTaps
from distune.distillation.objective import Objective

MakeTaps = Callable[..., tuple[StudentTaps, TeacherTaps]]

BASE: dict[str, Any] = {
    "prototypes": {"per_class": 3, "density_quantile": 0.2, "min_box_side_px": 8.0},
    "local_knowledge": {"base_size_px": 6.0},
}

CHANGES: dict[str, Any] = {
    "preset": "gkd_released",
    "pooling": "crop",
    "prototypes.per_class": 2,
    "prototypes.alpha": 0.0,
    "prototypes.unique": False,
    "prototypes.refresh_epochs": 2,
    "prototypes.density_bandwidth": 1.0,
    "prototypes.density_quantile": 0.7,
    "prototypes.min_box_side_px": 20.0,
    "prototypes.source.kind": "sweep",
    "prototypes.source.max_instances": 5,
    "prototypes.source.max_images": 1,
    "filter.discrepancy": "max_cosine",
    "filter.weight": "linear",
    "filter.global_threshold": 0.1,
    "filter.local_threshold": 0.1,
    "global_knowledge.weight": 1.0,
    "global_knowledge.representation": "coefficient",
    "global_knowledge.classes": "own",
    "local_knowledge.weight": 2.0,
    "local_knowledge.background_ratio": 1.0,
    "local_knowledge.adapter": "conv3x3",
    "local_knowledge.base_size_px": 30.0,
    "soft_labels.weight": 2.0,
    "soft_labels.temperature": 4.0,
    "soft_labels.normaliser": "mean",
    "decay": "constant",
    "start_epoch": 1,
    "stop_epoch": 2,
}

NEEDS: dict[str, dict[str, Any]] = {
    "prototypes.unique": {"prototypes.per_class": 8},
    "prototypes.source.max_images": {"prototypes.source.kind": "sweep"},
}
"""What else must be set, on both sides of the comparison, for a setting to matter."""


def losses_of(values: dict[str, Any], make_taps: MakeTaps) -> list[dict[str, float]]:
    """The losses of every step of a run of four epochs."""
    objective = Objective(
        DistillationSettings.model_validate(values),
        num_classes=3,
        strides=(8, 16, 32),
        student_channels=6,
        teacher_channels=8,
        score_kind="sigmoid",
        num_epochs=4,
        seed=0,
    )

    def sweep(_: int) -> Iterator[tuple[NeckMaps, NeckMaps, Instances]]:
        for seed in range(20, 25):
            student, teacher = make_taps(seed=seed, boxes_per_image=(5, 4))
            yield student.neck, teacher.neck, student.instances

    found = []
    for epoch in range(4):
        objective.begin_epoch(epoch, sweep)
        for step in range(3):
            losses = objective(*make_taps(seed=epoch * 3 + step, boxes_per_image=(5, 4)))
            found.append({name: float(loss.detach()) for name, loss in losses.items()})
        objective.end_epoch()
    return found


@pytest.mark.parametrize("path", CHANGES)
def test_the_setting_changes_something(path: str, make_taps: MakeTaps) -> None:
    values = BASE
    for other, needed in NEEDS.get(path, {}).items():
        values = with_path(values, other, needed)
    assert losses_of(values, make_taps) != losses_of(with_path(values, path, CHANGES[path]), make_taps)


def test_every_setting_is_in_the_list() -> None:
    paths = set(leaf_paths(DistillationSettings().model_dump()))
    paths |= set(leaf_paths(DistillationSettings.model_validate({"preset": "gkd_released"}).model_dump()))
    assert paths == set(CHANGES)


def test_the_same_settings_give_the_same_losses(make_taps: MakeTaps) -> None:
    assert losses_of(BASE, make_taps) == losses_of(BASE, make_taps)
