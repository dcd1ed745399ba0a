"""The line of the plan about cohorts, where the machines are known and where they are not."""

from __future__ import annotations

from typing import Any

import pytest

from distune.config.search import ResourceSettings
from distune.study.cohort_plan import CohortPlan
from distune.study.planning.cohort_text import describe_cluster_cohorts, describe_cohorts


@pytest.mark.parametrize(
    ("plan", "start"),
    [
        ({"num_workers": 1, "size": 3, "num_trials": 3}, "1 worker trains 3 trials side by side, which share"),
        ({"num_workers": 2, "size": 3, "num_trials": 6}, "2 workers train 3 trials each side by side, which share"),
        (
            {"num_workers": 16, "size": 8, "num_trials": 16, "num_at_start": 2},
            "at most 16 trials at a time (resources.max_concurrent), on 2 of 16 workers, for which the cluster has "
            "room now; each trains up to 8 side by side",
        ),
    ],
)
def test_known_machines(plan: dict[str, Any], start: str) -> None:
    assert describe_cohorts(CohortPlan(**plan)).startswith(start)


@pytest.mark.parametrize(
    ("settings", "num_trials", "expected"),
    [
        ({}, 100, "each worker of the cluster trains up to 8 trials side by side"),
        ({}, 12, "each worker of the cluster trains up to 3 trials side by side"),
        ({}, 7, None),
        ({"max_concurrent": 1}, 100, None),
        (
            {"max_concurrent": 16},
            100,
            "at most 16 trials at a time (resources.max_concurrent), on 16 workers if the cluster has room for them; "
            "on fewer, each trains up to 8 side by side",
        ),
        ({"max_concurrent": 3}, 100, "at most 3 trials at a time"),
        ({"cohort": 1}, 100, None),
        ({"cohort": 4}, 100, "each worker of the cluster trains 4 trials side by side"),
        ({"cohort": 4, "max_concurrent": 8}, 100, None),
        ({"gpus_per_trial": 2.0}, 100, None),
        ({"address": None}, 100, None),
    ],
)
def test_unknown_machines(settings: dict[str, Any], num_trials: int, expected: str | None) -> None:
    found = describe_cluster_cohorts(
        ResourceSettings.model_validate({"address": "auto", **settings}), num_trials=num_trials
    )
    assert (found is None) == (expected is None)
    assert (found or "").startswith(expected or "")
