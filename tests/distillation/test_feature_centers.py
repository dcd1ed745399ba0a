"""Centers: the means of classes or of maps so far, and their effect on directions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from distune.config.distillation import DistillationSettings
from distune.config.load import experiment_from_dict
from distune.detectors.taps import Frame, StudentTaps, TeacherTaps, View
from distune.distillation.maps.pooling import PooledFeatures
from distune.distillation.objective import Objective
from distune.distillation.prototypes.feature_centers import CenterKind, FeatureCenters
from distune.errors import ConfigError
from support.experiments import small_values
from support.objectives import FEATURE_PASS, build, never, run_epochs, source, values_of

MakeTaps = Callable[..., tuple[StudentTaps, TeacherTaps]]
FRAME = Frame((16, 16), ((16, 16),))
VIEW = View({8: torch.zeros(1, 2, 2, 2)}, FRAME)


def centers_of(kind: CenterKind = "instances", channels: int = 2) -> FeatureCenters:
    return FeatureCenters(kind, (8,), num_classes=3, student_channels=channels, teacher_channels=channels)


def add(centers: FeatureCenters, values_ND: Tensor, labels_N: Tensor, counted_LN: Tensor | None = None) -> None:
    features = PooledFeatures(values_ND[None], values_ND[None])
    counted_LN = torch.ones(1, len(labels_N), dtype=torch.bool) if counted_LN is None else counted_LN
    centers.update(VIEW, VIEW, features, labels_N, counted_LN)


@given(seed=st.integers(0, 100), sizes=st.lists(st.integers(0, 6), min_size=1, max_size=5))
def test_the_teachers_center_is_the_mean_of_the_means_of_the_classes_so_far(seed: int, sizes: list[int]) -> None:
    generator = torch.Generator().manual_seed(seed)
    centers = centers_of()
    values, labels, counts = [], [], []
    for size in sizes:
        values.append(torch.randn(size, 2, generator=generator) + 3)
        labels.append(torch.randint(1, 4, (size,), generator=generator))
        counts.append(torch.rand(1, size, generator=generator) < 0.7)
        add(centers, values[-1], labels[-1], counts[-1])
    kept_N = torch.cat(counts, dim=1)[0]
    values_ND, labels_N = torch.cat(values)[kept_N], torch.cat(labels)[kept_N]
    means = [values_ND[labels_N == label].mean(dim=0) for label in torch.unique(labels_N)]
    expected_D = torch.stack(means).mean(dim=0) if means else torch.zeros(2)
    torch.testing.assert_close(centers.current.teacher_LE[0], expected_D, rtol=1e-4, atol=1e-4)


def test_the_students_center_follows_about_ten_steps() -> None:
    centers = centers_of()
    for value in (0.0, 1.0):
        for _ in range(40):
            add(centers, torch.full((2, 2), value), torch.tensor([1, 1]))
    torch.testing.assert_close(centers.current.student_LD, torch.full((1, 2), 1 - 0.9**40))
    torch.testing.assert_close(centers.current.teacher_LE, torch.full((1, 2), 0.5))


def test_a_feature_pass_replaces_the_students_and_adds_to_the_teachers() -> None:
    centers = centers_of()
    counted_LN = torch.ones(1, 2, dtype=torch.bool)
    for value in (0.0, 1.0):
        values_LND = torch.full((1, 2, 2), value)
        centers.update_from_feature_pass(PooledFeatures(values_LND, values_LND), torch.tensor([1, 2]), counted_LN)
    assert centers.current.student_LD.tolist() == [[1, 1]]
    assert centers.current.teacher_LE.tolist() == [[0.5, 0.5]]


def test_values_that_are_not_finite_are_skipped() -> None:
    centers = centers_of()
    add(centers, torch.ones(2, 2), torch.tensor([1, 2]))
    add(centers, torch.tensor([[torch.inf, 1.0], [5.0, 5.0]]), torch.tensor([1, 2]))
    add(centers, torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))
    assert centers.current.student_LD.isfinite().all()
    add(centers, torch.ones(2, 2), torch.tensor([1, 2]))
    torch.testing.assert_close(centers.current.teacher_LE, torch.ones(1, 2), rtol=0, atol=2.0)


def test_centers_of_maps_are_means_over_the_cells_of_images() -> None:
    centers = centers_of("maps")
    map_BDHW = torch.randn(2, 2, 2, 3)
    frame = Frame((16, 24), ((16, 24), (8, 12)))
    view = View({8: map_BDHW}, frame)
    nothing = PooledFeatures(torch.zeros(1, 0, 2), torch.zeros(1, 0, 2))
    centers.update(view, view, nothing, torch.zeros(0, dtype=torch.int64), torch.zeros(1, 0, dtype=torch.bool))
    cells_DQ = torch.cat([map_BDHW[0].flatten(1), map_BDHW[1, :, :1, :1].flatten(1)], dim=1)
    for center_D in (centers.current.student_LD[0], centers.current.teacher_LE[0]):
        torch.testing.assert_close(center_D, cells_DQ.mean(dim=1))


def shifted(taps: tuple[StudentTaps, TeacherTaps], amount: float) -> tuple[StudentTaps, TeacherTaps]:
    """The same step with a constant added to all maps of both models."""
    student, teacher = taps
    view = View({stride: each + amount for stride, each in teacher.neck.items()}, teacher.view.frame)
    neck = {stride: (each.detach() + amount).requires_grad_() for stride, each in student.neck.items()}
    return dataclasses.replace(student, neck=neck), dataclasses.replace(teacher, view=view)


USERS: dict[str, dict[str, Any]] = {
    "instances, cosine": {},
    "coefficients": {"global_knowledge": {"representation": "coefficient"}, "filter": {"discrepancy": "coefficient"}},
    "cells": {"global_knowledge": {"at": "cells", "form": "divergence", "background_weight": 0.1}},
}


def second_epoch(objective: Objective, make_taps: MakeTaps, amount: float) -> dict[str, float]:
    """The losses and weights of a step on prototypes from the epoch before."""
    objective.begin_epoch(1, never)
    for seed in range(6):
        objective(*shifted(make_taps(seed=seed, boxes_per_image=(7, 5)), amount))
    objective.end_epoch()
    objective.begin_epoch(2, never)
    losses = values_of(objective(*shifted(make_taps(seed=9, boxes_per_image=(7, 5)), amount)))
    found = objective.end_epoch()
    return {"global_knowledge": losses["global_knowledge"], "discrepancy": found["filter/discrepancy"]}


@pytest.mark.parametrize("center", ["maps", "instances"])
@pytest.mark.parametrize("user", USERS)
def test_a_common_part_of_all_features_has_no_effect(make_taps: MakeTaps, user: str, center: str) -> None:
    """Prototypes, filter, instances and cells: where one of them were not centered, the part would appear."""
    centered = [second_epoch(build(USERS[user] | {"center": center}), make_taps, amount) for amount in (0.0, 20.0)]
    assert centered[1] == pytest.approx(centered[0], rel=2e-3)
    raw = [second_epoch(build(USERS[user] | {"center": "none"}), make_taps, amount) for amount in (0.0, 20.0)]
    assert raw[1]["global_knowledge"] != pytest.approx(raw[0]["global_knowledge"], rel=0.2)


def test_the_adapted_student_is_centered_too(make_taps: MakeTaps) -> None:
    changes = {"global_knowledge": {"space": "teacher"}, "center": "instances"}
    found = [second_epoch(build(changes), make_taps, amount) for amount in (0.0, 20.0)]
    assert found[1] == pytest.approx(found[0], rel=2e-3)


@pytest.mark.parametrize("center", ["maps", "instances"])
def test_a_resumed_objective_has_the_same_centers(make_taps: MakeTaps, center: str) -> None:
    whole, first, resumed = (build({"center": center}) for _ in range(3))
    expected = run_epochs(whole, make_taps, range(1, 4))
    run_epochs(first, make_taps, range(1, 3))
    resumed.load_state_dict(first.state_dict())
    assert run_epochs(resumed, make_taps, range(3, 4))[-1] == expected[-1]


def test_an_objective_without_centers_reads_and_writes_the_same_state(make_taps: MakeTaps) -> None:
    assert not any("centers" in name for name in build({"center": "none"}).state_dict())
    assert any("centers" in name for name in build({"center": "maps"}).state_dict())


def test_centers_of_instances_work_with_a_feature_pass(make_taps: MakeTaps) -> None:
    objective = build({"center": "instances", "prototypes": {"source": FEATURE_PASS}})
    objective.begin_epoch(1, source(make_taps))
    manager = objective.prototype_manager
    assert manager is not None
    assert manager.current_centers is not None
    assert manager.current_centers.teacher_LE.any()
    assert objective(*make_taps(seed=3))["global_knowledge"] > 0


def test_centers_of_maps_need_a_queue() -> None:
    with pytest.raises(ValueError, match="because a feature pass has no maps"):
        DistillationSettings.model_validate({"center": "maps", "prototypes": {"source": FEATURE_PASS}})
    values = small_values({"distillation": {"center": "maps", "prototypes": {"source": FEATURE_PASS}}})
    with pytest.raises(ConfigError, match="center: instances"):
        experiment_from_dict(values, source="mine.yaml")
