"""Builds the scheduler of a study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from distune.config.search import SchedulerSettings
from distune.study.schedulers.asha import Asha, rungs
from distune.study.schedulers.median import MedianStopping


class Scheduler(Protocol):
    """Decides after each epoch of a searched trial whether the trial continues. Decisions are final."""

    def should_continue(self, key: str, epoch: int, score: float) -> bool:
        """Record the score of an epoch and return whether the trial continues. Scores are finite; higher is better."""
        ...

    def restore(self, key: str, scores: Mapping[int, float]) -> None:
        """Record the scores of a trial of an earlier session: epoch to score."""
        ...


def build_scheduler(settings: SchedulerSettings, max_epochs: int) -> Scheduler:
    """Build the scheduler of an experiment. With ``none``, no trial is stopped."""
    if settings.kind == "asha":
        factor = settings.reduction_factor
        return Asha(rungs(settings.grace_epochs, max_epochs, factor), reduction_factor=factor)
    if settings.kind == "median":
        return MedianStopping(grace_epochs=settings.grace_epochs, min_trials=settings.min_trials)
    return Asha((), reduction_factor=1.0)
