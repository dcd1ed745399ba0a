"""Cohorts of a study: how many workers train, and how many trials each of them trains side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from distune.config.experiment import Experiment
from distune.config.search import ResourceSettings
from distune.config.several_gpus import processes_of_trial

MAX_COHORT = 8
"""Largest cohort that ``auto`` takes: the saving grows little beyond it."""
_MIN_GENERATIONS = 4
"""``auto`` lets at most a quarter of the trials run at a time, so that the sampler learns from the others."""

MostByMemory = Callable[[int], int]
"""Returns the number of students that the memory of a worker can hold, given the number of workers."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CohortPlan:
    """Workers and their trials.

    Attributes:
        num_workers: workers that train at the same time, each with the resources of a trial.
        size: trials that each one trains side by side.
        num_trials: most trials at a time.
        is_bounded_by_memory: ``auto`` would take more with more memory.
    """

    num_workers: int
    size: int
    num_trials: int
    is_bounded_by_memory: bool = False


def plan_cohorts(
    settings: ResourceSettings,
    *,
    num_trials: int,
    num_workers: int,
    simulate: bool,
    most_by_memory: MostByMemory | None = None,
) -> CohortPlan:
    """Return the cohorts of a study.

    Args:
        settings: of the experiment. ``max_concurrent`` bounds the trials of all workers together.
        num_trials: searched trials over all sessions.
        num_workers: trials whose resources fit at a time; on a cluster with ``max_concurrent``, this number.
        simulate: whether trials are simulated. They have nothing to share: ``auto`` is 1.
        most_by_memory: bound of ``auto``; only called if it matters. None knows none.

    Returns:
        At least one worker with one trial. A trial on several GPUs has a worker for itself.
    """
    is_bounded = False
    if processes_of_trial(settings.gpus_per_trial) > 1:
        size = 1
    elif settings.cohort != "auto":
        size = settings.cohort
        if settings.address is not None and settings.max_concurrent is not None:
            # The machines of a cluster are not counted then: as many workers as it takes.
            num_workers = min(num_workers, -(-settings.max_concurrent // size))
    elif simulate:
        size = 1
    else:
        size = max(1, min(MAX_COHORT, num_trials // (_MIN_GENERATIONS * num_workers)))
        most_students = size if size == 1 or most_by_memory is None else most_by_memory(num_workers)
        size, is_bounded = min(size, most_students), most_students < size
    most = num_workers * size
    if settings.max_concurrent is not None:
        most = min(most, settings.max_concurrent)
        num_workers = min(num_workers, most)
        size = -(-most // num_workers)
    return CohortPlan(num_workers=num_workers, size=size, num_trials=most, is_bounded_by_memory=is_bounded)


def most_by_memory(experiment: Experiment) -> MostByMemory | None:
    """Return the bound of ``auto`` on this machine; None for a cluster, whose machines are not known here."""
    if experiment.resources.address is not None:
        return None

    def bound(num_workers: int) -> int:
        from distune.study.planning.cohort_memory import memory_of_worker  # loads torch

        return memory_of_worker(experiment, num_workers=num_workers).most_students

    return bound
