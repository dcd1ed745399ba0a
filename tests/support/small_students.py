"""Students of tests without a data set: tiny detectors and images that are drawn here."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from distune.config.training import TrainingSettings
from distune.data.stream import Batch
from distune.training.student import Student, build_student
from support.families import build


def student(family: str, *, batches: int, changes: dict[str, Any] | None = None, **detector: Any) -> Student:
    """A student without distillation, with a small learning rate unless ``changes`` of its training say otherwise."""
    values = {"optimizer": {"kind": "sgd", "learning_rate": 0.01}, "schedule": {"kind": "constant"}, **(changes or {})}
    settings = TrainingSettings.model_validate({"epochs": 2, **values})
    return build_student(
        "s",
        build(family, **detector),
        objective=None,
        settings=settings,
        seed=0,
        steps_per_epoch=batches,
        device=torch.device("cpu"),
    )


def images(count: int) -> Batch:
    """Images of one size, with one to three boxes each."""
    generator = torch.Generator().manual_seed(4)
    targets = []
    for index in range(count):
        number = 1 + index % 3
        corners = torch.rand(number, 2, generator=generator) * 30
        boxes = torch.cat([corners, corners + 8 + 24 * torch.rand(number, 2, generator=generator)], dim=1)
        targets.append({"boxes": boxes, "labels": torch.arange(number) % 3 + 1})
    return Batch([torch.rand(3, 64, 64, generator=generator) for _ in range(count)], targets)


def parts_of(batch: Batch, size: int) -> list[Batch]:
    """Parts of a batch with this number of images."""
    return [
        Batch(batch.images[start : start + size], batch.targets[start : start + size])
        for start in range(0, len(batch), size)
    ]


def train(each: Student, batches: list[Batch]) -> dict[str, Tensor]:
    """Train an epoch, and return a copy of the weights."""
    each.begin_epoch(lambda _: iter(()))
    for batch in batches:
        each.step(batch, None)
    each.end_epoch()
    return {name: value.clone() for name, value in each.detector.model.state_dict().items()}
