"""The interval of a gain: its coverage, its pairing, and its text."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest

from distune.errors import StudyError
from distune.evidence.gain import (
    Gain,
    Verdict,
    gain_from_scores,
    measure_gain,
)
from distune.evidence.gain_text import describe_gain, suggest_next_step
from distune.evidence.matches import MatchTable
from distune.evidence.resampling import draw_counts, resample_runs
from support.matches import make_table

NUM_IMAGES = 40


def make_arms(
    random: np.random.Generator, *, num_seeds: int, gain: float, seed_spread: float
) -> tuple[dict[int, MatchTable], dict[int, MatchTable]]:
    """Return students that are better than their controls by ``gain``, with effects of seeds and of images."""
    hardness_IB = random.normal(0.0, 1.0, (NUM_IMAGES, 3))
    arms: tuple[dict[int, MatchTable], dict[int, MatchTable]] = ({}, {})
    for seed in range(num_seeds):
        for arm, more in zip(arms, (gain, 0.0), strict=True):
            ability = more + random.normal(0.0, seed_spread)
            noise_IB = random.normal(0.0, 0.7, hardness_IB.shape)
            arm[seed] = make_table(hardness_IB + noise_IB < ability, random.random(hardness_IB.shape))
    return arms


def gain_of(students: dict[int, MatchTable], controls: dict[int, MatchTable], *, num_resamples: int = 200) -> Gain:
    return measure_gain(*(resample_runs(each, "AP", num_resamples=num_resamples) for each in (students, controls)))


def verdicts(*, repetitions: int, num_seeds: int, gain: float, seed_spread: float) -> list[Verdict]:
    random = np.random.default_rng(7)
    found = []
    for _ in range(repetitions):
        students, controls = make_arms(random, num_seeds=num_seeds, gain=gain, seed_spread=seed_spread)
        found.append(gain_of(students, controls, num_resamples=80).verdict)
    return found


@pytest.mark.parametrize(("num_seeds", "seed_spread"), [(5, 0.0), (5, 0.3), (3, 0.1)])
def test_intervals_contain_a_true_gain_of_zero_in_95_of_100_repetitions(num_seeds: int, seed_spread: float) -> None:
    found = verdicts(repetitions=300, num_seeds=num_seeds, gain=0.0, seed_spread=seed_spread)
    covered = found.count(Verdict.NOT_SHOWN) / len(found)
    # Of 300 repetitions at 0.95 the fraction is in this range with a probability of 99%. Random numbers are fixed.
    assert 0.915 <= covered <= 0.98, covered


def with_boxes_in(table: MatchTable, num_images: int) -> MatchTable:
    """The same images, of which only the first hold anything."""
    (entry,) = table.parts["all"]
    is_kept_N = entry.images_N < num_images
    truths_I = np.where(np.arange(NUM_IMAGES) < num_images, entry.truths_I, 0)
    rare = dataclasses.replace(
        entry,
        images_N=entry.images_N[is_kept_N],
        hits_TN=entry.hits_TN[:, is_kept_N],
        ignored_TN=entry.ignored_TN[:, is_kept_N],
        truths_I=truths_I.astype(np.int32),
    )
    return MatchTable(table.image_ids_I, {"all": (rare,)})


def rare_gain(random: np.random.Generator, num_images: int) -> Gain:
    arms = make_arms(random, num_seeds=5, gain=0.0, seed_spread=0.0)
    rare = [{seed: with_boxes_in(table, num_images) for seed, table in arm.items()} for arm in arms]
    return gain_of(rare[0], rare[1], num_resamples=80)


def test_the_interval_covers_zero_when_few_images_have_such_boxes() -> None:
    random = np.random.default_rng(11)
    found = [rare_gain(random, 12) for _ in range(200)]
    assert {gain.num_images for gain in found} == {12}
    assert sum(gain.verdict is Verdict.NOT_SHOWN for gain in found) / len(found) >= 0.915


def test_very_few_images_leave_the_verdict_undecided() -> None:
    random = np.random.default_rng(12)
    found = [rare_gain(random, 4) for _ in range(20)]
    assert {gain.verdict for gain in found} == {Verdict.UNDECIDED}
    assert describe_gain(found[0]).endswith("5 seeds: undecided, since only 4 images have a box that counts for AP")
    assert str(suggest_next_step(found[0])).startswith("an interval needs at least 10 such images")


def test_a_large_gain_and_a_large_loss_are_detected() -> None:
    assert verdicts(repetitions=40, num_seeds=5, gain=0.8, seed_spread=0.1).count(Verdict.GAIN) >= 38
    assert verdicts(repetitions=40, num_seeds=5, gain=-0.8, seed_spread=0.1).count(Verdict.LOSS) >= 38


def test_the_interval_is_students_t_when_only_seeds_vary() -> None:
    gains = np.array([1.0, 2.0, 3.0, 4.0])
    students_SR = np.repeat(gains[:, None], 5, axis=1)
    found = gain_from_scores([3, 4, 5, 6], students_SR + 10, np.full((4, 5), 10.0), metric="AP", num_images=50)
    half = 3.182446 * gains.std(ddof=1) / 2  # t table, 3 degrees of freedom
    assert (found.low, found.high) == pytest.approx((2.5 - half, 2.5 + half), rel=1e-6)
    assert (found.student, found.control, found.error_images) == (12.5, 10.0, 0.0)
    assert found.by_seed == {3: 1.0, 4: 2.0, 5: 3.0, 6: 4.0}


def test_the_interaction_of_seeds_and_images_counts_once() -> None:
    random = np.random.default_rng(0)
    values_SI = random.normal(0.0, 1.0, (5, 400))
    counts_RI = draw_counts(400, num_resamples=1000, generator=random)
    scores_SR = values_SI @ (counts_RI / 400).T
    found = gain_from_scores(list(range(5)), scores_SR, np.zeros_like(scores_SR), metric="AP", num_images=400)
    naive = float(scores_SR[:, 1:].mean(axis=0).std(ddof=1))
    assert naive == pytest.approx(found.error_seeds, rel=0.5)
    assert found.error_images < 0.5 * naive, "it is in the spread between seeds already"
    common_SI = np.broadcast_to(values_SI[:1], values_SI.shape)
    scores_SR = common_SI @ (counts_RI / 400).T
    found = gain_from_scores(list(range(5)), scores_SR, np.zeros_like(scores_SR), metric="AP", num_images=400)
    assert found.error_images == pytest.approx(1 / 20, rel=0.15)
    assert found.error_seeds == pytest.approx(0.0, abs=1e-9)


def test_equal_arms_have_a_gain_of_zero() -> None:
    students, _ = make_arms(np.random.default_rng(1), num_seeds=3, gain=0.0, seed_spread=0.5)
    found = gain_of(students, students)
    assert (found.mean, found.low, found.high) == (0.0, 0.0, 0.0)
    assert found.verdict is Verdict.NOT_SHOWN


def test_the_first_resample_is_the_split_and_all_have_its_size() -> None:
    counts_RI = draw_counts(30, num_resamples=20, generator=np.random.default_rng(2))
    assert counts_RI[0].tolist() == [1] * 30
    assert counts_RI.sum(axis=1).tolist() == [30] * 21
    assert len({tuple(row) for row in counts_RI.tolist()}) == 21


def test_seeds_of_one_arm_alone_are_left_out_and_no_common_seed_is_an_error() -> None:
    students, controls = make_arms(np.random.default_rng(3), num_seeds=4, gain=0.5, seed_spread=0.1)
    del students[1], controls[3]
    assert sorted(gain_of(students, controls).by_seed) == [0, 2]
    with pytest.raises(StudyError, match="no seed in common"):
        gain_of({0: students[0]}, {1: controls[1]})


def test_tables_of_different_images_are_refused() -> None:
    students, controls = make_arms(np.random.default_rng(3), num_seeds=1, gain=0.5, seed_spread=0.1)
    other = MatchTable(controls[0].image_ids_I + 1, controls[0].parts)
    with pytest.raises(StudyError, match="different images"):
        gain_of(students, {0: other})
    with pytest.raises(StudyError, match="different images"):
        resample_runs({0: students[0], 1: other}, "AP")
    with pytest.raises(StudyError, match="no run has finished"):
        resample_runs({}, "AP")


def make_gain(gains: list[float], *, error_images: float = 0.0) -> Gain:
    random = np.random.default_rng(0)
    common_R = np.concatenate([[0.0], random.normal(0.0, 1.0, 400)]) * error_images
    students_SR = np.array(gains)[:, None] + common_R + 30.0
    seeds = [1000 + index for index in range(len(gains))]
    return gain_from_scores(seeds, students_SR, np.full_like(students_SR, 30.0), metric="AP", num_images=200)


def test_the_text_of_a_gain_and_the_next_step() -> None:
    clear = make_gain([1.9, 1.6, 2.1, 1.5, 1.9])
    assert clear.verdict is Verdict.GAIN
    assert describe_gain(clear) == "gain +1.8 AP [+1.5, +2.1], 5 seeds"
    assert suggest_next_step(clear) is None
    unclear = make_gain([1.5, -0.5, 1.0, -0.4, 0.9])
    assert describe_gain(unclear) == "no gain shown: +0.5 AP [-0.6, +1.6], 5 seeds"
    assert suggest_next_step(unclear) == (
        "more seeds would hardly show a gain of +0.2 AP (the estimate, shrunk by its uncertainty); more images might"
    )
    likely = make_gain([1.5, -0.1, 1.2, 0.1, 1.1])
    # An interval on its own: the next one is the first of a confirmation, of 96%.
    assert suggest_next_step(likely) == (
        "about 14 seeds would show a gain of +0.6 AP (the estimate, shrunk by its uncertainty) with a probability of "
        "80%; 9 if it is larger, 28 if it is smaller"
    )
    # The first of a confirmation: the next one is wider, 98.8% with 8 seeds and more with more.
    first = dataclasses.replace(likely, nominal_error=0.04)
    needed = re.match(r"about (\d+) seeds .*; (\d+) if it is larger, (\d+) if", str(suggest_next_step(first)))
    assert needed is not None
    assert [int(each) for each in needed.groups()] == pytest.approx([21, 13, 43], rel=0.05)
    tiny = make_gain([1.5, -1.5, 1.0, -0.9, 0.2])
    assert "it may as well be zero" in str(suggest_next_step(tiny))
    assert suggest_next_step(make_gain([-1.5, 0.5, -1.0, 0.4, -0.9])) == (
        "there is probably no gain: search again, or change the distillation"
    )
    worse = make_gain([-1.9, -1.6, -2.1])
    assert describe_gain(worse).startswith("worse than no distillation: -1.9 AP [-2.5, -1.2], 3 seeds")
    one = make_gain([2.0], error_images=0.3)
    assert one.verdict is Verdict.UNDECIDED
    assert one.low < 2.0 < one.high
    assert describe_gain(one).endswith("1 seed: undecided, since one seed says nothing about the spread between seeds")
    assert suggest_next_step(one) == "the interval means little below 3 seeds: confirm with --seeds 5 or more"
    assert "below 3 seeds" in str(suggest_next_step(make_gain([2.0, 2.1])))


def test_images_that_hide_a_gain_are_suggested_instead_of_seeds() -> None:
    few_images = make_gain([2.5, 2.6, 2.4], error_images=2.0)
    assert str(suggest_next_step(few_images)).endswith("; more images might")


def test_a_gain_survives_json() -> None:
    gain = make_gain([1.0, 2.0, 0.5])
    assert Gain.from_dict(json.loads(json.dumps(gain.to_dict()))) == gain


def test_seeds_of_a_teacher_count_together() -> None:
    gains = np.array([1.0, 3.0, 2.0, 4.0, 9.0, 11.0])
    students_SR = np.repeat(gains[:, None], 5, axis=1)
    found = gain_from_scores(
        list(range(6)), students_SR, np.zeros_like(students_SR), metric="AP", num_images=50, teachers=[0, 0, 1, 1, 2, 2]
    )
    means = np.array([2.0, 3.0, 10.0])
    half = 4.302653 * means.std(ddof=1) / 3**0.5  # t table, 2 degrees of freedom
    assert (found.mean, found.num_units) == (5.0, 3)
    assert (found.low, found.high) == pytest.approx((5.0 - half, 5.0 + half), rel=1e-6)
    assert list(found.by_seed.values()) == gains.tolist()
    same = gain_from_scores(
        list(range(6)), students_SR, np.zeros_like(students_SR), metric="AP", num_images=50, teachers=[0] * 6
    )
    assert same.num_units == 6
