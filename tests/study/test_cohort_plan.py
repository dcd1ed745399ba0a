"""The number of workers and the size of their cohorts."""

from __future__ import annotations

import pytest

from distune.config.search import ResourceSettings
from distune.study.cohort_plan import CohortPlan, plan_cohorts
from distune.study.resources import Resources, num_concurrent


@pytest.mark.parametrize(
    ("cohort", "max_concurrent", "num_trials", "num_workers", "expected"),
    [
        ("auto", None, 8, 2, (2, 1, 2)),
        ("auto", None, 24, 1, (1, 6, 6)),
        ("auto", None, 24, 2, (2, 3, 6)),
        ("auto", None, 40, 1, (1, 8, 8)),
        ("auto", None, 3, 2, (2, 1, 2)),
        ("auto", None, 1000, 4, (4, 8, 32)),
        (1, None, 1000, 4, (4, 1, 4)),
        (12, None, 4, 1, (1, 12, 12)),
        (4, 6, 100, 2, (2, 3, 6)),
        (4, 5, 100, 2, (2, 3, 5)),
        (4, 1, 100, 1, (1, 1, 1)),
        (4, 2, 100, 2, (2, 1, 2)),
    ],
)
def test_plan(
    cohort: int, max_concurrent: int | None, num_trials: int, num_workers: int, expected: tuple[int, int, int]
) -> None:
    settings = ResourceSettings(cohort=cohort, max_concurrent=max_concurrent)
    plan = plan_cohorts(settings, num_trials=num_trials, num_workers=num_workers, simulate=False)
    assert plan == CohortPlan(num_workers=expected[0], size=expected[1], num_trials=expected[2])


@pytest.mark.parametrize(
    ("cohort", "max_concurrent", "expected"),
    [(8, 16, (2, 8, 16)), (4, 10, (3, 4, 10)), (8, 3, (1, 3, 3)), (1, 16, (16, 1, 16))],
)
def test_a_cluster_gets_as_many_workers_as_full_cohorts_need(
    cohort: int, max_concurrent: int, expected: tuple[int, int, int]
) -> None:
    settings = ResourceSettings(address="auto", cohort=cohort, max_concurrent=max_concurrent)
    trial = Resources(cpus=4.0)
    num_workers = num_concurrent(settings, trial, [Resources(cpus=4.0)])
    plan = plan_cohorts(settings, num_trials=100, num_workers=num_workers, simulate=False)
    assert plan == CohortPlan(num_workers=expected[0], size=expected[1], num_trials=expected[2])


@pytest.mark.parametrize(
    ("max_concurrent", "num_fitting", "num_trials", "expected"),
    [
        (16, 2, 100, (16, 8, 16, 2)),
        (16, 4, 100, (16, 4, 16, 4)),
        (16, 2, 24, (16, 3, 16, 2)),
        (16, 12, 100, (16, 2, 16, 12)),
        (16, 16, 100, (16, 1, 16, None)),
        (4, 8, 100, (4, 1, 4, None)),
        (16, 0, 100, (16, 1, 16, None)),
        (1, 2, 100, (1, 1, 1, None)),
    ],
)
def test_on_a_cluster_auto_shares_the_workers_that_fit_and_asks_for_as_many_as_may_run(
    max_concurrent: int, num_fitting: int, num_trials: int, expected: tuple[int, int, int, int | None]
) -> None:
    settings = ResourceSettings(address="auto", max_concurrent=max_concurrent)
    plan = plan_cohorts(
        settings, num_trials=num_trials, num_workers=max_concurrent, simulate=False, num_at_start=num_fitting
    )
    assert plan == CohortPlan(
        num_workers=expected[0], size=expected[1], num_trials=expected[2], num_at_start=expected[3]
    )


def test_a_number_is_taken_as_it_is_wherever_it_fits() -> None:
    settings = ResourceSettings(address="auto", cohort=4, max_concurrent=5)
    plan = plan_cohorts(settings, num_trials=100, num_workers=5, simulate=False, num_at_start=1)
    assert plan == CohortPlan(num_workers=2, size=3, num_trials=5)


def test_the_local_runner_has_one_worker_whatever_the_cluster() -> None:
    settings = ResourceSettings(address="auto", cohort=8, max_concurrent=16)
    assert plan_cohorts(settings, num_trials=100, num_workers=1, simulate=False).num_workers == 1


def test_a_trial_on_several_gpus_is_trained_alone() -> None:
    plan = plan_cohorts(ResourceSettings(gpus_per_trial=2.0), num_trials=100, num_workers=2, simulate=False)
    assert plan == CohortPlan(num_workers=2, size=1, num_trials=2)


def test_simulated_trials_share_nothing_unless_it_is_asked_for() -> None:
    automatic = plan_cohorts(ResourceSettings(), num_trials=100, num_workers=2, simulate=True)
    assert (automatic.size, automatic.num_trials) == (1, 2)
    assert plan_cohorts(ResourceSettings(cohort=3), num_trials=100, num_workers=2, simulate=True).size == 3


def test_auto_takes_as_many_as_the_memory_holds() -> None:
    asked: list[int] = []

    def most(num_workers: int) -> int:
        asked.append(num_workers)
        return 3

    def plan(cohort: str | int, num_trials: int) -> CohortPlan:
        settings = ResourceSettings.model_validate({"cohort": cohort})
        return plan_cohorts(settings, num_trials=num_trials, num_workers=2, simulate=False, most_by_memory=most)

    assert plan("auto", 100) == CohortPlan(num_workers=2, size=3, num_trials=6, is_bounded_by_memory=True)
    assert not plan("auto", 24).is_bounded_by_memory
    assert asked == [2, 2]
    assert (plan("auto", 4).size, plan(12, 100).size) == (1, 12)
    assert asked == [2, 2], "the memory does not matter"


@pytest.mark.parametrize(("gpus", "cohort", "size"), [(0.5, "auto", 1), (1, "auto", 5), (0.5, 4, 4)])
def test_with_a_fraction_of_a_gpu_auto_trains_each_trial_alone(gpus: float, cohort: int | str, size: int) -> None:
    settings = ResourceSettings.model_validate({"gpus_per_trial": gpus, "cohort": cohort})
    assert plan_cohorts(settings, num_trials=20, num_workers=1, simulate=False).size == size
