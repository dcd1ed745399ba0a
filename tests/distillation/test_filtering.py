"""Discrepancies and weights, against their equations."""

from __future__ import annotations

import itertools
import math
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from distune.config.distillation import FilterSettings
from distune.distillation.filtering import DISCREPANCIES, WEIGHTS, InstanceWeights, RobustFilter, build_filter
from distune.distillation.maps.pooling import PooledFeatures, l2_normalize
from distune.distillation.prototypes.prototypes import Prototypes
from distune.distillation.representation import Representations, gather_class, represent

LABELS = [1, 2, 2, 3, 1]


def prototypes(seed: int = 0) -> Prototypes:
    """Two levels, three classes of two prototypes; class 3 has one on the fine level and none on the coarse one."""
    generator = torch.Generator().manual_seed(seed)
    made = Prototypes((8, 16), num_classes=3, num_prototypes=2, student_channels=4, teacher_channels=5)
    for level in range(2):
        for class_index in range(3):
            count = 2 if class_index < 2 else 1 - level
            if count > 0:
                student_PD = l2_normalize(torch.randn(count, 4, generator=generator, dtype=torch.float64))
                teacher_PE = l2_normalize(torch.randn(count, 5, generator=generator, dtype=torch.float64))
                made.put(level, class_index, student_PD, teacher_PE, torch.zeros(count, 2, dtype=torch.int64))
    return made


def representations(seed: int = 1, *, labels: list[int] = LABELS) -> Representations:
    generator = torch.Generator().manual_seed(seed)
    features = PooledFeatures(
        torch.randn(2, len(labels), 4, generator=generator), torch.randn(2, len(labels), 5, generator=generator)
    )
    return Representations(features, prototypes(), torch.tensor(labels, dtype=torch.int64))


def cosine(x: Tensor, y: Tensor) -> float:
    return float(x @ y / (x.norm() * y.norm()))


def test_cosines_are_those_of_every_instance_and_prototype() -> None:
    generator = torch.Generator().manual_seed(3)
    raw_LND = torch.randn(2, 5, 4, generator=generator) * 7
    made = prototypes()
    found_LNCM = represent(l2_normalize(raw_LND), made.student)
    for level in range(2):
        for n in range(5):
            for c in range(3):
                for m in range(2):
                    valid = bool(made.valid[level, c, m])
                    expected = cosine(raw_LND[level, n], made.student[level, c, m]) if valid else 0.0
                    assert float(found_LNCM[level, n, c, m]) == pytest.approx(expected, abs=1e-6)


def test_gather_class_returns_the_row_of_the_label() -> None:
    values_LNCM = torch.rand(2, 5, 3, 2, generator=torch.Generator().manual_seed(0))
    class_N = torch.tensor(LABELS) - 1
    found_LNM = gather_class(values_LNCM, class_N)
    for n, label in enumerate(LABELS):
        assert torch.equal(found_LNM[:, n], values_LNCM[:, n, label - 1])


def literal_discrepancy(name: str, seen: Representations, level: int, n: int) -> float:
    pair = seen.of("coefficient") if name == "coefficient" else seen.of("cosine")
    student: list[float] = pair[0][level, n, LABELS[n] - 1].tolist()
    teacher: list[float] = pair[1][level, n, LABELS[n] - 1].tolist()
    count = int(prototypes().valid[level, LABELS[n] - 1].sum())
    if count == 0:
        return 0.0
    student, teacher = student[:count], teacher[:count]
    if name == "max_cosine":
        return abs(max(student) - max(teacher))
    if name == "mean_cosine":
        return sum(abs(s - t) for s, t in zip(student, teacher, strict=True)) / count
    return math.dist(student, teacher)


def literal_weight(name: str, delta: float, others: list[float], threshold: float) -> float:
    if name == "linear":
        return min(1.0, max(0.0, 1 - delta / threshold))
    if name == "gaussian":
        return math.exp(-(delta**2) / (2 * threshold**2))
    if name == "threshold":
        return float(delta <= threshold)
    if name == "quantile":
        noisiest = sorted(others, reverse=True)[: math.floor(threshold * len(others))]
        return float(delta not in noisiest)
    return 1.0


@pytest.mark.parametrize("discrepancy", DISCREPANCIES)
@pytest.mark.parametrize("weight", WEIGHTS)
def test_weights_are_those_of_the_equations(discrepancy: str, weight: str) -> None:
    seen = representations()
    robust_filter = RobustFilter(discrepancy=discrepancy, weight=weight, global_threshold=0.4, local_threshold=0.7)
    found = robust_filter(seen)
    for level in range(2):
        known = [n for n in range(5) if prototypes().valid[level, LABELS[n] - 1].any()]
        deltas = [literal_discrepancy(discrepancy, seen, level, n) for n in range(5)]
        for n in range(5):
            assert bool(found.has_prototypes_LN[level, n]) == (n in known)
            assert float(found.discrepancy_LN[level, n]) == pytest.approx(deltas[n], abs=1e-6)
            for values_LN, threshold in ((found.global_LN, 0.4), (found.local_LN, 0.7)):
                others = [deltas[k] for k in known]
                expected = literal_weight(weight, deltas[n], others, threshold) if n in known else 1.0
                assert float(values_LN[level, n]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("discrepancy", DISCREPANCIES)
@pytest.mark.parametrize("weight", WEIGHTS)
def test_no_instances(discrepancy: str, weight: str) -> None:
    robust_filter = RobustFilter(discrepancy=discrepancy, weight=weight, global_threshold=0.4, local_threshold=0.7)
    assert robust_filter(representations(labels=[])).global_LN.shape == (2, 0)


@pytest.mark.parametrize("weight", WEIGHTS)
@given(
    deltas=st.lists(st.floats(0, 3, width=32), min_size=1, max_size=20),
    threshold=st.floats(0.01, 0.99),
    data=st.data(),
)
def test_weights_are_in_range_and_never_rise_with_discrepancy(
    weight: str, deltas: list[float], threshold: float, data: st.DataObject
) -> None:
    known = data.draw(st.lists(st.booleans(), min_size=len(deltas), max_size=len(deltas)))
    delta_1N, known_1N = torch.tensor([deltas]), torch.tensor([known])
    weights = WEIGHTS[weight](delta_1N, known_1N, threshold)[0].tolist()
    pairs = sorted((d, w) for d, w, k in zip(deltas, weights, known, strict=True) if k)
    assert all(0 <= w <= 1 for _, w in pairs)
    assert all(earlier[1] >= later[1] for earlier, later in itertools.pairwise(pairs))


@given(st.integers(1, 40), st.floats(0.01, 0.99))
def test_quantile_drops_the_requested_fraction(num_instances: int, threshold: float) -> None:
    delta_1N = torch.randperm(num_instances, generator=torch.Generator().manual_seed(0))[None].float()
    kept = WEIGHTS["quantile"](delta_1N, torch.ones(1, num_instances, dtype=torch.bool), threshold)[0]
    dropped = math.floor(threshold * num_instances + 1e-6)
    assert sorted(delta_1N[0][kept == 0].tolist()) == list(range(num_instances - dropped, num_instances))


def test_quantile_keeps_instances_that_are_all_alike() -> None:
    assert WEIGHTS["quantile"](torch.zeros(1, 6), torch.ones(1, 6, dtype=torch.bool), 0.5).tolist() == [[1.0] * 6]


def test_weights_carry_no_gradient() -> None:
    raw = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    seen = Representations(PooledFeatures(raw, torch.rand(2, 5, 5)), prototypes(), torch.tensor(LABELS))
    weights = build_filter(FilterSettings())(seen)
    assert not weights.global_LN.requires_grad
    assert seen.of("cosine")[0].requires_grad


def test_before_there_are_prototypes_all_weights_are_one() -> None:
    weights = InstanceWeights.ones(3, 4, torch.device("cpu"))
    assert weights.global_LN.tolist() == weights.local_LN.tolist() == [[1.0] * 4] * 3
    assert not weights.has_prototypes_LN.any()


@pytest.mark.parametrize("name", ["global_threshold", "local_threshold"])
def test_a_quantile_that_drops_everything_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} = 1\tmust be less than 1"):
        FilterSettings.model_validate({"weight": "quantile", name: 1.0})


@pytest.mark.parametrize(("field", "functions"), [("discrepancy", DISCREPANCIES), ("weight", WEIGHTS)])
def test_every_name_in_the_settings_has_its_function(field: str, functions: dict[str, object]) -> None:
    assert set(get_args(FilterSettings.model_fields[field].annotation)) == functions.keys()


@pytest.mark.parametrize("weight", WEIGHTS)
def test_an_instance_has_its_mean_weight_on_levels_where_it_does_not_count(weight: str) -> None:
    """There it has no discrepancy, and its discrepancy there changes no other instance's weight."""
    seen = representations()
    counted_LN = torch.tensor([[True] * 5, [True, False, True, True, False]])
    rdm = RobustFilter(discrepancy="mean_cosine", weight=weight, global_threshold=0.3, local_threshold=0.6)
    found, everywhere = rdm(seen, counted_LN), rdm(seen)
    assert torch.equal(found.has_prototypes_LN, everywhere.has_prototypes_LN & counted_LN)
    assert not found.discrepancy_LN[1, [1, 4]].any()
    for weights_LN in (found.global_LN, found.local_LN):
        assert torch.equal(weights_LN[1, [1, 4]], weights_LN[0, [1, 4]])
    if weight != "quantile":  # which compares the instances of a level
        assert torch.equal(found.local_LN[counted_LN], everywhere.local_LN[counted_LN])
    torch.testing.assert_close(rdm(seen, torch.ones_like(counted_LN)).local_LN, everywhere.local_LN)
