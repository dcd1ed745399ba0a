"""The level of an interval that is computed again whenever more seeds have been trained.

A 95% interval that is computed after 5 seeds, and again after each further one until it excludes zero, excludes a true
gain of zero much more often than in 5% of cases. Here the levels are such that the intervals of *all* analyses together
cover the true gain with 95%: the repeated confidence intervals of group-sequential trials (Jennison and Turnbull,
Journal of the Royal Statistical Society B 51, 1989), with one nominal level for all planned analyses (Pocock,
Biometrika 64, 1977). Student's t statistics of growing samples do not depend on the variance, so the nominal level is
found by simulation, for the exact numbers of seeds.

Shape legend: ``P`` simulated paths, ``S`` seeds, ``L`` analyses.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ERROR = 0.05
"""Largest probability that any interval of a confirmation misses the true gain."""
FIRST_ERROR = 0.04
"""Nominal error of the first analysis where no sequence is planned: the rest is for analyses that may follow."""

_NUM_PATHS = 200_000
_NUM_QUICK_PATHS = 50_000
"""Fewer paths, for an advice on the number of seeds."""
_SEED = 20_261_129


@dataclasses.dataclass(frozen=True)
class Analysis:
    """An interval that was computed.

    Attributes:
        num_seeds: seeds in it.
        error: its nominal error: 1 minus the level of its t quantile.
    """

    num_seeds: int
    error: float


def unplanned_error(previous: Sequence[Analysis], num_seeds: int) -> float:
    """Return the nominal error of an analysis that is not part of a plan.

    The first has 4%. Every further one gets half of the rest, so that all together have at most 5%, however many
    follow.

    Args:
        previous: analyses of the same trial, by number of seeds.
        num_seeds: of this analysis, more than those of ``previous``.

    Returns:
        The nominal error.

    Raises:
        ValueError: the numbers of seeds do not rise, or one is less than 2.
    """
    if not previous:
        return FIRST_ERROR
    spent = _spent(tuple(previous))
    return _nominal_error(tuple(previous), (num_seeds,), max(0.0, ERROR - spent) / 2)


def planned_error(previous: Sequence[Analysis], planned: Sequence[int]) -> float:
    """Return the one nominal error of all analyses of a plan.

    Args:
        previous: earlier analyses of the same trial, by number of seeds.
        planned: number of seeds at each planned analysis.

    Returns:
        The nominal error with which planned and earlier analyses together miss the true gain in 5% of cases.

    Raises:
        ValueError: the numbers of seeds do not rise, or one is less than 2.
    """
    spent = _spent(tuple(previous)) if previous else 0.0
    return _nominal_error(tuple(previous), tuple(planned), max(0.0, ERROR - spent))


def further_error(last: Analysis, num_seeds: int) -> float:
    """Return roughly what ``unplanned_error`` returns after one analysis, quickly and for any number of seeds.

    It is simulated for a few numbers of seeds, and interpolated between them.

    Args:
        last: the first analysis of a trial. One with an error below that of a first one is taken for the second, whose
            history is not known: together they have spent 4% and half of the rest.
        num_seeds: of the further analysis, more than those of ``last``.

    Returns:
        The nominal error, within about 10% of it.
    """
    fractions, logs = _further_errors(last)
    return float(np.exp(np.interp(last.num_seeds / num_seeds, fractions, logs)))


@functools.cache
def _further_errors(last: Analysis) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the fraction of seeds that the last analysis had, ascending, and the logarithm of the nominal error."""
    from scipy import special  # slow to load, and only needed here

    first = last.num_seeds
    spent = last.error if last.error >= FIRST_ERROR else FIRST_ERROR + (ERROR - FIRST_ERROR) / 2
    added = max(0.0, ERROR - spent) / 2
    random = np.random.default_rng(_SEED)
    # The sum of the gains of the first seeds and their squared distances from its mean hold all that matters of them.
    sums_P = math.sqrt(first) * random.standard_normal(_NUM_QUICK_PATHS)
    squares_P = random.chisquare(first - 1, _NUM_QUICK_PATHS)
    limit = -float(special.stdtrit(first - 1, last.error / 2))
    is_covered_P = np.abs(sums_P) / np.sqrt(first * squares_P / (first - 1)) <= limit
    sums_P, squares_P = sums_P[is_covered_P], squares_P[is_covered_P]
    found = {0.0: math.log(added / (1 - last.error))}  # of endless seeds, among which the first ones do not matter
    for number in {first + 1, first + 2, first + math.ceil(first / 2), 2 * first, 4 * first}:
        more = number - first
        new_sums_P = math.sqrt(more) * random.standard_normal(len(sums_P))
        new_squares_P = random.chisquare(more - 1, len(sums_P)) if more > 1 else 0.0
        between_P = first * more / number * (sums_P / first - new_sums_P / more) ** 2
        variance_P = (squares_P + new_squares_P + between_P) / (number - 1)
        t_P = np.abs(sums_P + new_sums_P) / np.sqrt(number * variance_P)
        quantile = float(np.quantile(t_P, 1 - added * _NUM_QUICK_PATHS / len(t_P)))
        found[first / number] = math.log(2.0 * float(special.stdtr(number - 1, -quantile)))
    fractions = np.array(sorted(found))
    return fractions, np.array([found[fraction] for fraction in fractions])


@functools.cache
def _nominal_error(previous: tuple[Analysis, ...], planned: tuple[int, ...], error: float) -> float:
    """Return the nominal error at which planned analyses miss with ``error``, where earlier ones did not."""
    _check([*(analysis.num_seeds for analysis in previous), *planned])
    smallest_P = np.min(_p_values(planned), axis=0)
    if previous:
        smallest_P = np.where(_is_missed(previous), 1.0, smallest_P)
    return float(np.quantile(smallest_P, error))


@functools.cache
def _spent(analyses: tuple[Analysis, ...]) -> float:
    """Return the probability that any of some analyses misses the true gain."""
    _check([analysis.num_seeds for analysis in analyses])
    return float(_is_missed(analyses).mean())


def _is_missed(analyses: tuple[Analysis, ...]) -> NDArray[np.bool_]:
    p_values_LP = _p_values(tuple(analysis.num_seeds for analysis in analyses))
    errors_L = np.array([analysis.error for analysis in analyses])
    return np.asarray((p_values_LP < errors_L[:, None]).any(axis=0), dtype=np.bool_)


def _p_values(num_seeds: tuple[int, ...]) -> NDArray[np.float64]:
    """Return two-sided p values of a true gain of zero, shape (number of analyses, P)."""
    from scipy import special  # slow to load, and only needed here

    # Seeds are the first axis, so that the paths of few seeds are the beginnings of those of many.
    gains_SP = np.random.default_rng(_SEED).standard_normal((max(num_seeds), _NUM_PATHS), dtype=np.float32)
    sums_SP, squares_SP = gains_SP.cumsum(axis=0), (gains_SP**2).cumsum(axis=0)
    values = []
    for number in num_seeds:
        mean_P = sums_SP[number - 1] / number
        variance_P = (squares_SP[number - 1] - number * mean_P**2) / (number - 1)
        t_P = np.abs(mean_P) / np.sqrt(np.maximum(variance_P, 1e-12) / number)
        values.append(2.0 * special.stdtr(number - 1, -t_P.astype(np.float64)))
    return np.stack(values)


def _check(num_seeds: Sequence[int]) -> None:
    if any(number < 2 for number in num_seeds) or list(num_seeds) != sorted(set(num_seeds)):
        raise ValueError(f"analyses need rising numbers of seeds, at least 2, not {list(num_seeds)}")
