"""Every setting of distillation changes the losses of a short run, and the list of settings is complete."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from distune.config.distillation import PRESETS, DistillationSettings
from distune.config.paths import leaf_paths, with_path
from distune.config.terms import LocalTermSettings
from distune.detectors.taps import Instances, StudentTaps, TeacherTaps, View
from distune.distillation.build import build_objective

MakeTaps = Callable[..., tuple[StudentTaps, TeacherTaps]]

BASE: dict[str, Any] = {
    "preset": "gkd_global",
    "prototypes": {"per_class": 3, "density_quantile": 0.2, "min_box_side_px": 8.0},
    "local_knowledge": {"base_size_px": 6.0},
    "soft_labels": {"weight": 1.0, "unit": "raw"},  # scores of sampled taps do not come from their maps
}

CHANGES: dict[str, Any] = {
    "preset": "gkd_raw",
    "pooling": "crop",
    "standardize": "channel",
    "center": "instances",
    "min_box_cells": 2.0,
    "prototypes.per_class": 2,
    "prototypes.selector": "kmeans",
    "prototypes.alpha": 0.0,
    "prototypes.unique": False,
    "prototypes.refresh_epochs": 2,
    "prototypes.density_bandwidth": 1.0,
    "prototypes.density_quantile": 0.7,
    "prototypes.min_box_side_px": 20.0,
    "prototypes.source.kind": "feature_pass",
    "prototypes.source.max_instances": 5,
    "prototypes.source.max_images": 1,
    "filter.discrepancy": "max_cosine",
    "filter.weight": "linear",
    "filter.global_threshold": 0.1,
    "filter.local_threshold": 0.1,
    "global_knowledge.representation": "coefficient",
    "global_knowledge.classes": "own",
    "global_knowledge.at": "cells",
    "global_knowledge.form": "divergence",
    "global_knowledge.temperature": 0.3,
    "global_knowledge.space": "teacher",
    "global_knowledge.levels": "own",
    "global_knowledge.base_size_px": 6.0,
    "global_knowledge.background_weight": 0.5,
    "local_knowledge.background_ratio": 1.0,
    "local_knowledge.average": "cells",
    "local_knowledge.adapter": "conv3x3",
    "local_knowledge.base_size_px": 30.0,
    "soft_labels.temperature": 4.0,
    "soft_labels.reduction": "mean",
    "soft_labels.sites": "positive",
    "soft_labels.focus": 0.0,
    "mimic.regions": "boxes",
    "mimic.adapter": "conv3x3",
    "fgfi.threshold": 0.8,
    "fgfi.anchor_strides": 2.0,
    "fgfi.adapter": "conv3x3",
    "rkd.angle_ratio": 1.0,
    "rkd.max_instances": 6,
    "cwd.temperature": 1.0,
    "cwd.adapter": "conv3x3",
    "localization.form": "smooth_l1",
    "localization.margin": 0.5,
    "localization.sites": "all",
    "localization.site_weight": "score",
    "pkd.adapter": "conv3x3",
    "fgd.temperature": 2.0,
    "fgd.background_ratio": 2.0,
    "fgd.attention_ratio": 0.0,
    "fgd.relation_ratio": 0.0,
    "fgd.adapter": "conv3x3",
    "mgd.masked_share": 0.3,
    "mgd.adapter": "conv3x3",
    "decay": "constant",
    "start_epoch": 1,
    "stop_epoch": 2,
}
TERMS = DistillationSettings.model_validate({"preset": "gkd_global"}).terms
for _name, _term in TERMS.items():
    _unit = BASE.get(_name, {}).get("unit", _term.unit)
    _other_unit = "raw" if _unit == "gradient_share" else "gradient_share"
    CHANGES |= {f"{_name}.unit": _other_unit, f"{_name}.weight": _term.weight / 2 or 1.5}
    if isinstance(_term, LocalTermSettings):
        CHANGES[f"{_name}.robust"] = False

NEEDS: dict[str, dict[str, Any]] = {
    "prototypes.unique": {"prototypes.per_class": 8},
    "prototypes.source.max_images": {"prototypes.source.kind": "feature_pass"},
    "localization.margin": {"localization.form": "bounded"},
    "localization.site_weight": {"localization.sites": "all"},
    "global_knowledge.temperature": {"global_knowledge.form": "divergence"},
    "global_knowledge.base_size_px": {"global_knowledge.levels": "own"},
    "global_knowledge.background_weight": {"global_knowledge.at": "cells"},
}
"""Further settings, on both sides, without which a setting has no effect, besides the weight of its term."""


def base_of(path: str) -> dict[str, Any]:
    """The settings that a change of one is compared with."""
    values = BASE
    name, _, field = path.partition(".")
    if name in TERMS and field != "weight":
        values = with_path(values, f"{name}.weight", TERMS[name].weight or 1.0)
    for other, needed in NEEDS.get(path, {}).items():
        values = with_path(values, other, needed)
    return values


def losses_of(values: dict[str, Any], make_taps: MakeTaps) -> Iterator[dict[str, float]]:
    """The losses of every step of a run of four epochs, step by step."""
    torch.manual_seed(0)
    objective = build_objective(
        DistillationSettings.model_validate(values),
        num_classes=3,
        strides=(8, 16, 32),
        student_channels=(6, 6, 6),
        teacher_channels=(8, 8, 8),
        score_kind="sigmoid",
        base_size_px=56.0,
        num_epochs=4,
        seed=0,
    )

    def feature_pass(_: int) -> Iterator[tuple[View, View, Instances]]:
        for seed in range(20, 25):
            student, teacher = make_taps(seed=seed, boxes_per_image=(5, 4))
            yield student.view, teacher.view, student.instances

    for epoch in range(1, 5):
        objective.begin_epoch(epoch, feature_pass)
        for step in range(3):
            losses = objective(*make_taps(seed=epoch * 3 + step, boxes_per_image=(5, 4)))
            yield {name: float(loss.detach()) for name, loss in losses.items()}
        objective.end_epoch()


@pytest.fixture(scope="module")
def known() -> dict[str, list[dict[str, float]]]:
    """Losses of the unchanged settings, which many changes are compared with."""
    return {}


@pytest.mark.parametrize("path", CHANGES)
def test_the_setting_changes_something(
    path: str, make_taps: MakeTaps, known: dict[str, list[dict[str, float]]]
) -> None:
    values = base_of(path)
    if str(values) not in known:
        known[str(values)] = list(losses_of(values, make_taps))
    changed = losses_of(with_path(values, path, CHANGES[path]), make_taps)
    assert any(mine != theirs for mine, theirs in zip(changed, known[str(values)], strict=True))


def test_every_setting_is_in_the_list() -> None:
    presets = [DistillationSettings.model_validate({"preset": name}) for name in PRESETS]
    paths = {path for preset in presets for path in leaf_paths(preset.model_dump())}
    assert paths == set(CHANGES)


def test_the_same_settings_give_the_same_losses(make_taps: MakeTaps) -> None:
    assert list(losses_of(BASE, make_taps)) == list(losses_of(BASE, make_taps))
