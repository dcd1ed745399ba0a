"""Remarks about samplers in the plan."""

from __future__ import annotations

from typing import Any

import pytest

from distune.config.sampling import sampler_remarks
from distune.config.search import SearchSettings


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        ({"kind": "tpe"}, ["tpe proposes at random until 10 trials have finished or were stopped"]),
        ({"kind": "tpe", "startup_trials": 0}, []),
        ({"kind": "random"}, []),
        ({"kind": "gp"}, ["gp proposes at random until 10 trials have finished"]),
        (
            {"kind": "cmaes", "startup_trials": 3, "population_size": 90},
            ["cmaes proposes at random until 3 trials have finished"],
        ),
        (
            {"kind": "nsga2", "population_size": 20},
            ["nsga2 proposes at random until 20 trials have finished: in all 20 of this study"],
        ),
    ],
)
def test_how_many_of_the_first_trials_are_random(sampler: dict[str, Any], expected: list[str]) -> None:
    settings = {"sampler": sampler, "scheduler": {"kind": "none"}, "num_trials": 20}
    assert sampler_remarks(SearchSettings.model_validate(settings)) == expected
