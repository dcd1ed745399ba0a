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
        size: most trials that each one trains side by side.
        num_trials: most trials at a time.
        is_bounded_by_memory: ``auto`` would take more with more memory.
        num_at_start: workers that fit on a cluster now, where the others wait until it has grown; None if none waits.
    """

    num_workers: int
    size: int
    num_trials: int
    is_bounded_by_memory: bool = False
    num_at_start: int | None = None


def plan_cohorts(
    settings: ResourceSettings,
    *,
    num_trials: int,
    num_workers: int,
    simulate: bool,
    num_at_start: int = 0,
    most_by_memory: MostByMemory | None = None,
) -> CohortPlan:
    """Return the cohorts of a study.

    On a cluster ``max_concurrent`` asks for as many workers, since the cluster may grow. With ``auto``, those that fit
    already take the trials of those that do not.

    Args:
        settings: of the experiment. ``max_concurrent`` bounds the trials of all workers together.
        num_trials: searched trials over all sessions.
        num_workers: trials whose resources fit at a time; on a cluster with ``max_concurrent``, this number.
        simulate: whether trials are simulated. They have nothing to share: ``auto`` is 1.
        num_at_start: workers that fit on the machines of a cluster now; 0 if that is not known, or none does.
        most_by_memory: bound of ``auto``; only called if it matters. None knows none.

    Returns:
        At least one worker with one trial. A trial on several GPUs has a worker for itself. With a fraction of a GPU
        ``auto`` is 1: another worker shares the GPU, so that a trial out of memory could not be tried alone there.
    """
    is_bounded = False
    at_start = num_workers
    if processes_of_trial(settings.gpus_per_trial) > 1:
        size = 1
    elif settings.cohort != "auto":
        size = settings.cohort
        if settings.address is not None and settings.max_concurrent is not None:
            # The machines of a cluster are not counted then: as many workers as it takes.
            num_workers = min(num_workers, -(-settings.max_concurrent // size))
    elif simulate or _is_fraction(settings):
        size = 1
    else:
        at_start = min(num_workers, num_at_start) or num_workers
        size = largest_cohort(num_trials, num_workers=at_start)
        most_students = size if size == 1 or most_by_memory is None else most_by_memory(num_workers)
        size, is_bounded = min(size, most_students), most_students < size
    most = num_workers * size
    if settings.max_concurrent is not None:
        most = min(most, settings.max_concurrent)
        num_workers = min(num_workers, most)
        size = min(size, -(-most // min(num_workers, at_start)))
    return CohortPlan(
        num_workers=num_workers,
        size=size,
        num_trials=most,
        is_bounded_by_memory=is_bounded,
        num_at_start=at_start if at_start < num_workers else None,
    )


def _is_fraction(settings: ResourceSettings) -> bool:
    return settings.gpus_per_trial != "auto" and 0 < settings.gpus_per_trial < 1


def largest_cohort(num_trials: int, *, num_workers: int) -> int:
    """Return the size of the cohorts that ``auto`` takes without a bound."""
    return max(1, min(MAX_COHORT, num_trials // (_MIN_GENERATIONS * num_workers)))


def most_by_memory(experiment: Experiment) -> MostByMemory | None:
    """Return the bound of ``auto`` on this machine; None for a cluster, whose machines are not known here."""
    if experiment.resources.address is not None:
        return None

    def bound(num_workers: int) -> int:
        from distune.study.planning.cohort_memory import memory_of_worker  # loads torch

        return memory_of_worker(experiment, num_workers=num_workers).most_students

    return bound
