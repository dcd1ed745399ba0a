"""A small version of ``benchmarks/verdicts.py``: the choice among trials does not bias the gain that is stated."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
REPETITIONS = 300


@pytest.fixture
def verdicts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("verdicts")


@pytest.mark.parametrize("has_test", [True, False])
def test_a_choice_on_other_seeds_has_no_bias_and_one_on_the_same_seeds_has(
    verdicts: ModuleType, has_test: bool
) -> None:
    found = {}
    for procedure in (verdicts.on_the_same_seeds, verdicts.on_other_seeds):
        random = np.random.default_rng(0)
        gains = [
            procedure(verdicts.Study(8, 0.0, verdicts.normal, random), 5, has_test=has_test) for _ in range(REPETITIONS)
        ]
        means = [gain.mean for gain in gains]
        error = np.mean([gain.low > 0 or gain.high < 0 for gain in gains])
        found[procedure.__name__] = (np.mean(means) / np.std(means), error)
    same, other = found["on_the_same_seeds"], found["on_other_seeds"]
    # The mean of 300 unbiased gains is within 0.17 of zero, in their standard deviations, with a probability of 99.7%.
    assert same[0] > 0.3
    assert abs(other[0]) < 0.17
    assert other[1] < 0.05


@pytest.mark.parametrize("noise", ["normal", "heavy-tailed", "bimodal"])
def test_planned_intervals_together_miss_zero_in_few_studies(verdicts: ModuleType, noise: str) -> None:
    random = np.random.default_rng(1)
    found = {True: 0, False: 0}
    for _ in range(REPETITIONS):
        scores = verdicts.Study(1, 0.0, verdicts.NOISES[noise], random).scores(verdicts.LAST)
        for is_repaired in found:
            found[is_repaired] += verdicts.analyze_after_each(scores, is_repaired=is_repaired)[0]
    assert found[True] / REPETITIONS < 0.06
    assert found[False] / REPETITIONS > 0.07
