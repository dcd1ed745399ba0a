"""Number of trials that a worker trains side by side."""

from __future__ import annotations

from distune.config.search import ResourceSettings

MAX_COHORT = 8
"""Largest cohort that ``auto`` takes: the saving grows little beyond it."""
_MIN_GENERATIONS = 2
"""``auto`` lets at most one half of the trials run at a time, so that the sampler learns from the others."""


def cohort_size(settings: ResourceSettings, *, num_trials: int, num_workers: int, simulate: bool) -> int:
    """Return the number of trials that a worker trains side by side.

    Args:
        settings: of the experiment.
        num_trials: searched trials over all sessions.
        num_workers: workers that train at the same time.
        simulate: whether trials are simulated. They have nothing to share: ``auto`` is 1.

    Returns:
        At least 1. ``resources.max_concurrent`` bounds the trials of all workers together.
    """
    if settings.cohort != "auto":
        size = settings.cohort
    elif simulate:
        size = 1
    else:
        size = min(MAX_COHORT, num_trials // (_MIN_GENERATIONS * num_workers))
    if settings.max_concurrent is not None:
        size = min(size, settings.max_concurrent // num_workers)
    return max(1, size)
