"""The scheduler of a study: who is stopped early."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from distune.config.search import SchedulerSettings
from distune.study.schedulers.asha import Asha, rungs
from distune.study.schedulers.median import MedianStopping


class Scheduler(Protocol):
    """Decides after each epoch of a searched trial whether the trial goes on. Stops for good, and pauses nobody."""

    def should_continue(self, key: str, epoch: int, score: float) -> bool:
        """Take the report of an epoch and decide. ``score`` is finite; higher is better."""
        ...

    def restore(self, key: str, scores: Mapping[int, float]) -> None:
        """Know a trial of an earlier session again: epoch to score, as they were reported."""
        ...


def build_scheduler(settings: SchedulerSettings, max_epochs: int) -> Scheduler:
    """The scheduler of an experiment. Without one, every trial goes on."""
    if settings.kind == "asha":
        factor = settings.reduction_factor
        return Asha(rungs(settings.grace_epochs, max_epochs, factor), reduction_factor=factor)
    if settings.kind == "median":
        return MedianStopping(grace_epochs=settings.grace_epochs, min_trials=settings.min_trials)
    return Asha((), reduction_factor=1.0)
