"""p values of gains agree with their intervals, and Holm's correction with values computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from distune.evidence.gain import Gain, gain_from_scores
from distune.evidence.p_values import SMALLEST, holm_adjusted, p_value


def gain_of(random: np.random.Generator, *, mean: float, num_seeds: int, of_images: float, error: float = 0.05) -> Gain:
    images_R = of_images * np.concatenate([[0.0], random.normal(0.0, 1.0, 100)])
    gains_SR = mean + random.normal(0.0, 1.0, (num_seeds, 1)) + images_R
    return gain_from_scores(
        list(range(num_seeds)), gains_SR, np.zeros_like(gains_SR), metric="AP", num_images=30, error=error
    )


@pytest.mark.parametrize("num_seeds", [2, 3, 8])
@pytest.mark.parametrize("mean", [0.5, -3.0, 12.0])
@pytest.mark.parametrize("of_images", [0.0, 0.5, 2.0])
def test_the_interval_at_the_level_of_the_p_value_touches_zero(num_seeds: int, mean: float, of_images: float) -> None:
    def again(error: float) -> Gain:
        random = np.random.default_rng(4)
        return gain_of(random, mean=mean, num_seeds=num_seeds, of_images=of_images, error=error)

    found = again(p_value(again(0.05)))
    nearest = found.low if found.mean > 0 else found.high
    assert nearest == pytest.approx(0.0, abs=1e-6)
    assert (p_value(found) < 0.05) == (again(0.05).low > 0 or again(0.05).high < 0)


def test_where_only_seeds_vary_it_is_the_p_value_of_students_t_test() -> None:
    found = gain_of(np.random.default_rng(5), mean=1.0, num_seeds=6, of_images=0.0)
    expected = stats.ttest_1samp(list(found.by_seed.values()), 0.0).pvalue
    assert p_value(found) == pytest.approx(expected, rel=1e-6)


def test_the_ends_of_the_range() -> None:
    equal_SR = np.ones((3, 5))
    none = gain_from_scores([0, 1, 2], equal_SR, equal_SR, metric="AP", num_images=30)
    assert p_value(none) == 1.0
    certain = gain_from_scores([0, 1, 2], equal_SR + 1, equal_SR, metric="AP", num_images=30)
    assert p_value(certain) == SMALLEST


@pytest.mark.parametrize(
    ("p_values", "adjusted"),
    [
        ([], []),
        ([0.03], [0.03]),
        # Sorted: 4 x .005 = .02, 3 x .01 = .03, 2 x .03 = .06, 1 x .04 = .04, which is raised to .06.
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.5, 0.02, 0.9], [1.0, 0.06, 1.0]),
        ([0.02, 0.02], [0.04, 0.04]),
    ],
)
def test_holms_step_down_procedure(p_values: list[float], adjusted: list[float]) -> None:
    assert holm_adjusted(p_values) == pytest.approx(adjusted)
