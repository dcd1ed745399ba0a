"""The AUC of the filter on tagged instances."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distune.detectors.taps import Instances, StudentTaps, TeacherTaps
from distune.distillation.filter_auc import FilterAuc, area_under_roc
from distune.distillation.filtering import InstanceWeights
from support.objectives import FEATURE_PASS, build, source

MakeTaps = Callable[..., tuple[StudentTaps, TeacherTaps]]
SCORES = st.lists(st.integers(0, 5).map(float), min_size=1, max_size=8)


@given(SCORES, SCORES)
def test_area_is_the_fraction_of_pairs_won(positive: list[float], negative: list[float]) -> None:
    won = np.mean([(p > n) + 0.5 * (p == n) for p in positive for n in negative])
    assert area_under_roc(np.array(positive), np.array(negative)) == pytest.approx(float(won))


def auc_of(origins: list[list[int]], scores: list[list[float]], known: list[list[bool]] | None = None) -> FilterAuc:
    tags = {0: (frozenset({"blurred"}), frozenset()), 1: (frozenset({"blurred", "small"}), frozenset(), frozenset())}
    auc = FilterAuc(tags.__getitem__)
    origin_N2 = torch.tensor(origins)
    counts = (len(origins),)
    instances = Instances(
        boxes_N4=torch.zeros(len(origins), 4),
        labels_N=torch.ones(len(origins), dtype=torch.int64),
        counts=counts,
        image_of_N=torch.zeros(len(origins), dtype=torch.int64),
        origin_N2=origin_N2,
        frame=None,  # type: ignore[arg-type]
    )
    discrepancy_LN = torch.tensor(scores)
    has_prototypes_LN = torch.ones_like(discrepancy_LN).bool() if known is None else torch.tensor(known)
    auc.update(instances, InstanceWeights(discrepancy_LN, discrepancy_LN, discrepancy_LN, has_prototypes_LN))
    return auc


def test_ranks_each_tag_against_instances_without_any() -> None:
    auc = auc_of([[0, 0], [0, 1], [1, 0], [1, 1], [1, 2]], [[0.5, 0.1, 0.05, 0.2, 0.3]])
    found = {name: value for name, value in auc.compute().items() if name.startswith("filter/auc")}
    assert found == pytest.approx({"filter/auc_blurred": 3 / 6, "filter/auc_small": 0.0, "filter/auc_tagged": 3 / 6})
    auc.reset()
    assert auc.compute() == {}


def test_uses_the_mean_over_levels_with_prototypes() -> None:
    scores = [[0.2, 0.5], [0.0, 0.5]]
    assert auc_of([[0, 0], [0, 1]], scores).compute()["filter/auc_blurred"] == 0
    scores = [[0.9, 0.5], [0.0, 0.5]]
    known = [[True, True], [False, True]]
    assert auc_of([[0, 0], [0, 1]], scores, known).compute()["filter/auc_blurred"] == 1


def test_leaves_out_unknown_instances() -> None:
    known = [[True, False, True]]
    assert auc_of([[0, 0], [0, 1], [1, 1]], [[0.5, 0.9, 0.1]], known).compute()["filter/auc_blurred"] == 1
    assert auc_of([[-1, -1], [0, 0], [0, 1]], [[0.9, 0.5, 0.1]]).compute()["filter/auc_blurred"] == 1
    only_tagged = auc_of([[0, 0], [1, 0]], [[0.5, 0.1]]).compute()
    assert not any(name.startswith("filter/auc") for name in only_tagged), "nothing without a tag to compare with"
    assert only_tagged["filter/weight_tagged"] == pytest.approx(0.3)


def test_the_mean_weights_of_each_tag() -> None:
    """The weights here are the discrepancies, of two levels; one level of the first instance has no prototypes."""
    scores = [[0.5, 0.1, 0.2, 0.2, 0.3], [0.0, 0.3, 0.4, 0.4, 0.5]]
    known = [[True] * 5, [False] + [True] * 4]
    found = auc_of([[0, 0], [0, 1], [1, 0], [1, 1], [1, 2]], scores, known).compute()
    assert {name: value for name, value in found.items() if name.startswith("filter/weight")} == pytest.approx(
        {
            "filter/weight_blurred": (0.5 + 0.3) / 2,
            "filter/weight_small": 0.3,
            "filter/weight_tagged": (0.5 + 0.3) / 2,
            "filter/weight_untagged": (0.2 + 0.3 + 0.4) / 3,
        }
    )


def test_the_objective_reports_it_when_there_are_tags(make_taps: MakeTaps) -> None:
    def tags_of(image: int) -> tuple[frozenset[str], ...]:
        return tuple(frozenset({"small"} if index % 2 else ()) for index in range(8))

    with_tags, without = (
        build({"prototypes": {"source": FEATURE_PASS}}, tags_of=given_tags) for given_tags in (tags_of, None)
    )
    for objective in (with_tags, without):
        objective.begin_epoch(1, source(make_taps))
        objective(*make_taps(boxes_per_image=(6, 7)))
    metrics = with_tags.end_epoch()
    assert 0 <= metrics["filter/auc_small"] <= 1
    assert metrics["filter/auc_small"] == metrics["filter/auc_tagged"]
    assert not any(name.startswith("filter/auc") for name in without.end_epoch())
