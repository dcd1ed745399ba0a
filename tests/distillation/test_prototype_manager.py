"""The prototype manager: its seed, its figures, and state dicts of earlier versions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from distune.config.distillation import DistillationSettings
from distune.detectors.taps import StudentTaps, TeacherTaps
from distune.distillation.build import build_prototype_manager
from distune.distillation.prototypes.prototype_manager import PrototypeManager
from distune.distillation.weight_schedule import WeightSchedule
from support.objectives import source

MakeTaps = Callable[..., tuple[StudentTaps, TeacherTaps]]


def prototype_manager(*, seed: int = 0, **prototypes: Any) -> PrototypeManager:
    values = {
        "source": {"kind": "feature_pass", "max_images": 50},
        "min_box_side_px": 8.0,
        "per_class": 3,
        **prototypes,
    }
    return build_prototype_manager(
        DistillationSettings.model_validate({"prototypes": values}),
        WeightSchedule(decay="linear", start_after=0, stop_after=4),
        strides=(8, 16),
        num_classes=3,
        student_channels=6,
        teacher_channels=8,
        seed=seed,
    )


def select(make_taps: MakeTaps, each: PrototypeManager, epoch: int = 1) -> Tensor:
    each.begin_epoch(epoch, source(make_taps))
    assert each.current is not None
    return each.current.origin.clone()


def test_random_selection_depends_on_the_seed_and_the_epoch(make_taps: MakeTaps) -> None:
    first = prototype_manager(selector="random")
    origin = select(make_taps, first)
    assert torch.equal(origin, select(make_taps, prototype_manager(selector="random")))
    assert not torch.equal(origin, select(make_taps, prototype_manager(selector="random", seed=1)))
    assert not torch.equal(origin, select(make_taps, first, epoch=2))
    resumed = prototype_manager(selector="random")
    resumed.load_state_dict(first.state_dict())
    assert torch.equal(select(make_taps, first, epoch=3), select(make_taps, resumed, epoch=3))


def test_the_seed_has_no_effect_on_the_pursuits(make_taps: MakeTaps) -> None:
    for selector in ("pursuit", "orthogonal"):
        origins = [select(make_taps, prototype_manager(selector=selector, seed=seed)) for seed in (0, 1)]
        assert torch.equal(*origins)


def test_figures_are_reported_once_and_stored_with_the_prototypes(make_taps: MakeTaps) -> None:
    each = prototype_manager()
    assert each.metrics == {}
    each.begin_epoch(1, source(make_taps))
    reported = each.end_epoch(1)
    assert reported["prototypes/coverage_student"] > 0
    assert each.end_epoch(1) == {}
    assert each.metrics == reported
    restored = prototype_manager()
    restored.load_state_dict(each.state_dict())
    assert restored.metrics == reported
    assert restored.end_epoch(1) == {}


@pytest.mark.parametrize(("made_for", "epoch"), [(-1, 0), (0, 1), (3, 4)])
def test_a_state_dict_with_epochs_from_0_is_read(make_taps: MakeTaps, made_for: int, epoch: int) -> None:
    saved = prototype_manager()
    saved.begin_epoch(1, source(make_taps))
    state = saved.state_dict()
    del state["made_for_epoch"]
    old_state = {"made_for": torch.tensor(made_for), **state}
    restored = prototype_manager()
    restored.load_state_dict(old_state, strict=True)
    assert int(restored.made_for_epoch) == epoch
    assert (restored.current is None) == (made_for == -1)
    assert "made_for" in old_state, "the caller's state dict stays as it is"
