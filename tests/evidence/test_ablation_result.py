"""The effects of terms: their verdicts and their text."""

from __future__ import annotations

import dataclasses
import json

import pytest

from distune.evidence.ablation_result import AblationResult, TermVerdict, adjust
from explanation.making import gain


def result(num_seeds: int = 3) -> AblationResult:
    strong = gain(9.0, 8.0, 10.0, by_seed=[9.0] * num_seeds)
    weak = gain(0.5, -2.0, 3.0, by_seed=[-0.5, 0.5, 1.5, *[0.5] * num_seeds][:num_seeds])
    effects = {"local_knowledge": strong, "soft_labels": weak, "pkd": None}
    failures = {"local_knowledge": (), "soft_labels": (), "pkd": ("ablate-7-without-pkd-seed-1000: failed (disk)",)}
    seeds = tuple(range(1000, 1000 + num_seeds))
    return AblationResult(metric="AP", trial=7, seeds=seeds, gain=strong, terms=adjust(effects, failures))


def test_p_values_are_adjusted_for_all_terms() -> None:
    local, soft, pkd = result().terms
    assert local.adjusted_p is not None
    assert local.adjusted_p < 0.05
    assert local.verdict is TermVerdict.HELPS
    assert soft.adjusted_p is not None
    assert soft.adjusted_p > 0.05
    assert soft.verdict is TermVerdict.NOT_SHOWN
    assert (pkd.adjusted_p, pkd.verdict) == (None, TermVerdict.UNDECIDED)
    (alone,) = adjust({"local_knowledge": local.effect}, {"local_knowledge": ()})
    assert alone.adjusted_p == pytest.approx(local.adjusted_p / 3)


def test_a_term_without_which_the_student_is_better_harms() -> None:
    (found,) = adjust({"pkd": gain(-9.0, -10.0, -8.0, by_seed=[-9.0] * 3)}, {"pkd": ()})
    assert found.verdict is TermVerdict.HARMS


def test_one_seed_is_undecided() -> None:
    (found,) = adjust({"pkd": gain(9.0, 8.0, 10.0, by_seed=[9.0])}, {"pkd": ()})
    assert found.verdict is TermVerdict.UNDECIDED
    assert "one seed says nothing about the spread" in found.describe()


def test_very_few_images_are_undecided() -> None:
    few = dataclasses.replace(gain(9.0, 8.0, 10.0, by_seed=[9.0] * 3), num_images=4)
    (found,) = adjust({"pkd": few}, {"pkd": ()})
    assert found.adjusted_p is not None
    assert found.adjusted_p < 0.05
    assert found.verdict is TermVerdict.UNDECIDED
    assert found.describe() == (
        "pkd: undecided, since only 4 images have a box that counts for AP: +9.0 AP [+8.0, +10.0]"
    )
    (enough,) = adjust({"pkd": dataclasses.replace(few, num_images=10)}, {"pkd": ()})
    assert enough.verdict is TermVerdict.HELPS


def test_the_effect_with_the_fewest_seeds_decides_whether_they_are_few() -> None:
    asked = result(num_seeds=8)
    full = gain(9.0, 8.0, 10.0, by_seed=[9.0] * 8)
    for num_seeds, is_few in ((3, True), (8, False), (1, False)):
        effects = {"pkd": full, "mimic": gain(0.5, -2.0, 3.0, by_seed=[0.5] * num_seeds)}
        found = dataclasses.replace(asked, terms=adjust(effects, {"pkd": (), "mimic": ()}))
        few = f"{num_seeds} seeds show large effects only: no effect shown does not mean that there is none"
        assert (few in found.limits) is is_few
        assert any("large effects only" in line for line in found.limits) is is_few


def test_the_text_says_what_few_seeds_can_show() -> None:
    lines = result().lines()
    assert lines[0] == "ablation of trial 7, 3 seeds, search split: gain of all terms together +9.0 AP"
    assert lines[1].startswith("local_knowledge: helps: +9.0 AP [+8.0, +10.0], 3 seeds, p ")
    assert "pkd: undecided, since no run without it has finished" in lines
    assert any("no effect shown does not mean that there is none" in line for line in lines)
    assert any("failed (disk)" in line for line in lines)
    assert not any("large effects only" in line for line in result(num_seeds=8).lines())


def test_a_result_is_read_back() -> None:
    found = result()
    assert AblationResult.from_dict(json.loads(json.dumps(found.to_dict()))) == found
