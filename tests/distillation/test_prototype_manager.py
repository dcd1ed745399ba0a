"""The prototype manager of a trial's prototypes: its seed, and the figures about what it keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from distune.config.distillation import DistillationSettings
from distune.detectors.taps import StudentTaps, TeacherTaps
from distune.distillation.prototypes.prototype_manager import PrototypeManager
from distune.distillation.weight_schedule import Schedule
from support.objectives import source

MakeTaps = Callable[..., tuple[StudentTaps, TeacherTaps]]


def prototype_manager(*, seed: int = 0, **prototypes: Any) -> PrototypeManager:
    values = {
        "source": {"kind": "feature_pass", "max_images": 50},
        "min_box_side_px": 8.0,
        "per_class": 3,
        **prototypes,
    }
    return PrototypeManager(
        DistillationSettings.model_validate({"prototypes": values}),
        Schedule(decay="linear", start_epoch=0, stop_epoch=4),
        strides=(8, 16),
        num_classes=3,
        student_channels=6,
        teacher_channels=8,
        seed=seed,
    )


def drawn(make_taps: MakeTaps, each: PrototypeManager, epoch: int = 0) -> Tensor:
    each.begin_epoch(epoch, source(make_taps))
    assert each.current is not None
    return each.current.origin.clone()


def test_what_is_random_follows_the_seed_and_the_epoch(make_taps: MakeTaps) -> None:
    first = prototype_manager(selector="random")
    origin = drawn(make_taps, first)
    assert torch.equal(origin, drawn(make_taps, prototype_manager(selector="random")))
    assert not torch.equal(origin, drawn(make_taps, prototype_manager(selector="random", seed=1)))
    assert not torch.equal(origin, drawn(make_taps, first, epoch=1))
    resumed = prototype_manager(selector="random")
    resumed.load_state_dict(first.state_dict())
    assert torch.equal(drawn(make_taps, first, epoch=2), drawn(make_taps, resumed, epoch=2))


def test_the_seed_changes_nothing_where_nothing_is_random(make_taps: MakeTaps) -> None:
    for selector in ("pursuit", "orthogonal"):
        origins = [drawn(make_taps, prototype_manager(selector=selector, seed=seed)) for seed in (0, 1)]
        assert torch.equal(*origins)


def test_figures_are_told_once_and_kept_with_the_prototypes(make_taps: MakeTaps) -> None:
    each = prototype_manager()
    assert each.metrics == {}
    each.begin_epoch(0, source(make_taps))
    told = each.end_epoch(0)
    assert told["prototypes/coverage_student"] > 0
    assert each.end_epoch(0) == {}
    assert each.metrics == told
    restored = prototype_manager()
    restored.load_state_dict(each.state_dict())
    assert restored.metrics == told
    assert restored.end_epoch(0) == {}
