"""Figures about directions of features: known values, pairs written out, and the sample of an epoch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from distune.detectors.taps import StudentTaps, TeacherTaps
from distune.distillation.feature_geometry import (
    FeatureSample,
    class_gap,
    effective_rank,
    figures_of,
    mean_cosine,
)
from distune.distillation.maps.pooling import PooledFeatures, l2_normalize
from support.objectives import build, never, with_prototypes

MakeTaps = Callable[..., tuple[StudentTaps, TeacherTaps]]


def test_orthogonal_classes_of_one_direction_each() -> None:
    unit_ND = torch.eye(3)[[0, 0, 1, 1, 2, 2]]
    labels_N = torch.tensor([1, 1, 2, 2, 3, 3])
    assert class_gap(unit_ND, labels_N) == pytest.approx(1)
    assert mean_cosine(unit_ND) == pytest.approx(6 / 30)
    assert effective_rank(unit_ND) == pytest.approx(3)


def test_one_direction() -> None:
    unit_ND = l2_normalize(torch.tensor([3.0, 4.0, 0.0])).repeat(5, 1)
    assert class_gap(unit_ND, torch.tensor([1, 1, 2, 2, 2])) == pytest.approx(0, abs=1e-6)
    assert mean_cosine(unit_ND) == pytest.approx(1)
    assert effective_rank(unit_ND) == pytest.approx(1, abs=1e-6)


def test_directions_of_unequal_frequency() -> None:
    """Eigenvalues 3/4 and 1/4."""
    expected = math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
    assert effective_rank(torch.eye(8)[[0, 0, 0, 5]]) == pytest.approx(expected)


@given(seed=st.integers(0, 100), num=st.integers(2, 9))
def test_pairs_are_those_of_two_different_instances(seed: int, num: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    unit_ND = l2_normalize(torch.randn(num, 4, generator=generator, dtype=torch.float64))
    labels_N = torch.randint(1, 4, (num,), generator=generator)
    same: list[float] = []
    different: list[float] = []
    for i, j in itertools.permutations(range(num), 2):
        (same if labels_N[i] == labels_N[j] else different).append(float(unit_ND[i] @ unit_ND[j]))
    assert mean_cosine(unit_ND) == pytest.approx(sum(same + different) / (num * (num - 1)))
    gap = class_gap(unit_ND, labels_N)
    if same and different:
        assert gap == pytest.approx(sum(same) / len(same) - sum(different) / len(different))
    else:
        assert gap is None


def test_the_rank_is_that_of_either_moment() -> None:
    """With fewer instances than channels it comes from their inner products."""
    unit_ND = l2_normalize(torch.randn(6, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    eigenvalues = torch.linalg.eigvalsh(unit_ND.T @ unit_ND / 6).clamp(min=1e-300)
    assert effective_rank(unit_ND) == pytest.approx(float((-eigenvalues * eigenvalues.log()).sum().exp()))


def test_features_without_a_direction_are_left_out() -> None:
    features_ND = torch.tensor([[2.0, 0.0], [0.0, 0.0], [0.0, 3.0], [torch.nan, 1.0], [torch.inf, 0.0]])
    found = figures_of(features_ND, torch.tensor([1, 1, 2, 2, 1]))
    assert found == {"mean_cosine": pytest.approx(0), "effective_rank": pytest.approx(2)}
    assert figures_of(features_ND[1:2], torch.tensor([1])) == {}


def features_of(values_ND: Tensor) -> PooledFeatures:
    return PooledFeatures(values_ND[None], values_ND[None])


def test_the_sample_keeps_the_last_batches() -> None:
    sample = FeatureSample((8,), max_instances=4)
    away, kept = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    for values, count in ((away, 3), (kept, 3), (kept, 0), (kept, 3)):
        counted_LN = torch.ones(1, count, dtype=torch.bool)
        sample.add(features_of(values.repeat(count, 1)), torch.ones(count, dtype=torch.int64), counted_LN)
    assert sample.compute()["features/mean_cosine_student/8"] == pytest.approx(1)
    assert sample.compute()["features/effective_rank_teacher/8"] == pytest.approx(1)
    sample.reset()
    assert sample.compute() == {}


def test_the_sample_leaves_out_instances_on_levels_where_they_do_not_count() -> None:
    sample = FeatureSample((8, 16))
    unit_ND = torch.eye(2)[[0, 1]]
    features = PooledFeatures(unit_ND.repeat(2, 1, 1), unit_ND.repeat(2, 1, 1))
    sample.add(features, torch.tensor([1, 2]), torch.tensor([[True, True], [True, False]]))
    found = sample.compute()
    assert found["features/effective_rank_teacher/8"] == pytest.approx(2)
    assert found["features/effective_rank_teacher/16"] == pytest.approx(1)
    assert "features/mean_cosine_teacher/16" not in found


def test_every_epoch_reports_both_models_on_every_level_also_without_prototypes(make_taps: MakeTaps) -> None:
    plain = build({"preset": "decoupled"} | {"global_knowledge": {"weight": 0.0, "unit": "raw"}})
    assert plain.prototype_manager is None
    plain.begin_epoch(1, never)
    using = with_prototypes(make_taps)
    for objective in (plain, using):
        for seed in range(3):
            objective(*make_taps(seed=seed, boxes_per_image=(6, 5)))
    names = {name for name in using.end_epoch() if name.startswith("features/")}
    assert names == {
        f"features/{figure}_{model}/{stride}"
        for figure in ("class_gap", "mean_cosine", "effective_rank")
        for model in ("student", "teacher")
        for stride in (8, 16, 32)
    }
    assert {name for name in plain.end_epoch() if name.startswith("features/")} == names


def test_centered_features_are_reported_centered(make_taps: MakeTaps) -> None:
    found = []
    for center in ("none", "instances"):
        objective = build({"center": center})
        objective.begin_epoch(1, never)
        for seed in range(4):
            student, teacher = make_taps(seed=seed, boxes_per_image=(9, 8))
            for neck in (student.neck, teacher.neck):
                for stride, map_BDHW in neck.items():
                    neck[stride] = map_BDHW.detach() + 5.0
            objective(student, teacher)
        found.append(objective.end_epoch())
    for model in ("student", "teacher"):
        assert found[0][f"features/mean_cosine_{model}/8"] > 0.9
        assert abs(found[1][f"features/mean_cosine_{model}/8"]) < 0.2
