"""The number of seeds that would show a gain."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from distune.evidence.gain import ERROR, MIN_SEEDS, Gain, gain_from_scores
from distune.evidence.power import POWER, seeds_needed
from distune.evidence.repeated_analyses import FIRST_ERROR, Analysis, unplanned_error


def make_gain(mean: float, *, error_seeds: float = 0.5, error_images: float = 0.0, num_seeds: int = 5) -> Gain:
    return Gain(
        metric="AP",
        mean=mean,
        low=mean - 1,
        high=mean + 1,
        student=mean,
        control=0.0,
        by_seed=dict.fromkeys(range(num_seeds), mean),
        num_images=100,
        error_seeds=error_seeds,
        error_images=error_images,
    )


def test_the_assumed_gain_is_shrunk_by_its_uncertainty() -> None:
    assert seeds_needed(make_gain(1.0, error_seeds=0.5)).gain == pytest.approx(0.75)
    assert seeds_needed(make_gain(-1.0, error_seeds=0.5)).gain == pytest.approx(-0.75)
    assert seeds_needed(make_gain(0.4, error_seeds=0.5)).gain == 0.0
    assert seeds_needed(make_gain(0.0)).gain == 0.0


def test_that_many_seeds_show_a_gain_of_that_size_in_eighty_percent() -> None:
    gain = make_gain(1.0, error_seeds=0.5)
    needed = seeds_needed(gain, error=ERROR)
    assert needed.expected is not None
    spread = gain.error_seeds * np.sqrt(gain.num_seeds)
    random = np.random.default_rng(0)
    shown = []
    for number in (needed.expected - 2, needed.expected):
        found = 0
        for _ in range(2000):
            scores_SR = random.normal(needed.gain, spread, (number, 1)) + np.zeros((1, 2))
            found += gain_from_scores(
                list(range(number)), scores_SR, np.zeros_like(scores_SR), metric="AP", num_images=100
            ).low > 0  # fmt: skip
        shown.append(found / 2000)
    assert shown[1] == pytest.approx(POWER, abs=0.03)
    assert shown[0] < shown[1]


def test_the_range_is_around_the_number() -> None:
    needed = seeds_needed(make_gain(1.0, error_seeds=0.5))
    assert needed.fewest is not None
    assert needed.expected is not None
    assert needed.most is not None
    assert MIN_SEEDS <= needed.fewest < needed.expected < needed.most
    uncertain = seeds_needed(make_gain(0.55, error_seeds=0.5))
    assert uncertain.most is None


def test_images_that_hide_the_gain_are_no_matter_of_seeds() -> None:
    needed = seeds_needed(make_gain(1.0, error_seeds=0.1, error_images=0.6))
    assert (needed.expected, needed.most) == (None, None)


def test_a_smaller_error_needs_more_seeds() -> None:
    gain = make_gain(1.0, error_seeds=0.5)
    plain, strict = (seeds_needed(gain, error=error).expected for error in (ERROR, 0.01))
    assert plain is not None
    assert strict is not None
    assert plain < strict


def test_the_next_interval_of_a_confirmation_has_its_own_level() -> None:
    first = dataclasses.replace(make_gain(1.0, error_seeds=0.5), nominal_error=FIRST_ERROR)
    same_level, needed = seeds_needed(first, error=FIRST_ERROR).expected, seeds_needed(first).expected
    assert same_level is not None
    assert needed is not None
    next_level = unplanned_error([Analysis(first.num_seeds, FIRST_ERROR)], needed)
    at_that_level = seeds_needed(first, error=next_level).expected
    assert at_that_level == pytest.approx(needed, abs=1), "it shows the gain at the level of that interval"
    assert needed > 1.3 * same_level
    second = seeds_needed(dataclasses.replace(first, nominal_error=next_level)).expected
    assert second is not None
    assert second > needed, "a third interval has less than a second one"


def test_the_next_interval_has_more_seeds() -> None:
    clear = make_gain(3.0, error_seeds=0.1, num_seeds=8)
    needed = seeds_needed(dataclasses.replace(clear, nominal_error=FIRST_ERROR))
    assert (needed.fewest, needed.expected, needed.most) == (9, 9, 9)


def test_an_interval_on_its_own_is_followed_by_the_first_of_a_confirmation() -> None:
    alone = make_gain(1.0, error_seeds=0.5)
    assert alone.nominal_error == ERROR
    assert seeds_needed(alone) == seeds_needed(alone, error=FIRST_ERROR)


def test_one_seed_says_nothing_about_the_spread() -> None:
    assert seeds_needed(dataclasses.replace(make_gain(1.0), by_seed={0: 1.0})).expected == MIN_SEEDS
