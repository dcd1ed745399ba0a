"""Asynchronous successive halving, stop-only: of the trials that reach a rung, the best go on. No library in here.

Source: Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020, arXiv 1810.05934, in the form
that stops trials instead of pausing and promoting them. Higher scores are better.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence


def rungs(grace_epochs: int, max_epochs: int, reduction_factor: float) -> tuple[int, ...]:
    """The epochs at which trials are judged: ``grace * factor^k``, rounded, below the last epoch.

    The last epoch is no rung: a trial that has done its whole budget is finished, whatever its rank.

    Args:
        grace_epochs: the first rung, at least 1.
        max_epochs: the whole budget of a trial.
        reduction_factor: more than 1. Rungs that round to the same epoch are one rung.

    Returns:
        Epochs in ascending order; empty when the budget is not more than the grace.
    """
    found: list[int] = []
    reached = float(grace_epochs)
    while (epoch := math.floor(reached + 0.5)) < max_epochs:
        if not found or epoch > found[-1]:
            found.append(epoch)
        reached *= reduction_factor
    return tuple(found)


def num_kept(num_reached: int, reduction_factor: float) -> int:
    """How many of the trials at a rung count as its best: one in ``reduction_factor``, and always the very best one.

    So the first trial at a rung goes on, the next ones until the factor is reached go on only if they are the best so
    far. Trials are never paused, so a trial that is overtaken later is not called back, and one that came too early to
    look good is not given a second chance.
    """
    return max(1, math.floor(num_reached / reduction_factor + 1e-9))


class Asha:
    """The scores at each rung, and the decision about the next one.

    A trial has one score per rung. A report counts for the highest rung that the trial newly reaches with it, and for
    no other: were the late score of a resumed trial put into a low rung, healthy trials would be stopped for it.
    """

    def __init__(self, rung_epochs: Sequence[int], *, reduction_factor: float) -> None:
        self.rung_epochs = tuple(sorted(rung_epochs))
        self._reduction_factor = reduction_factor
        self._ascending: dict[int, list[float]] = {rung: [] for rung in self.rung_epochs}
        self._highest: dict[str, int] = {}

    def scores(self, rung: int) -> tuple[float, ...]:
        """The scores at a rung, best first."""
        return tuple(reversed(self._ascending[rung]))

    def should_continue(self, key: str, epoch: int, score: float) -> bool:
        """Take a report and decide.

        Args:
            key: the trial. Controls are never reported here: they are neither judged nor compared with.
            epoch: epochs that the trial has done.
            score: finite; the caller ends a trial that has diverged.

        Returns:
            False when this report reaches a rung and the score is not among the best there, itself included. Equal
            scores share the better rank.
        """
        rung = self._record(key, epoch, score)
        if rung is None:
            return True
        ascending = self._ascending[rung]
        num_better = len(ascending) - bisect.bisect_right(ascending, score)
        return num_better < num_kept(len(ascending), self._reduction_factor)

    def restore(self, key: str, scores: Mapping[int, float]) -> None:
        """Put a trial of an earlier session back into its rungs.

        Args:
            key: the trial.
            scores: epoch to score, as they were reported. Those that are not finite are left out.
        """
        for epoch in sorted(scores):
            if math.isfinite(scores[epoch]):
                self._record(key, epoch, scores[epoch])

    def _record(self, key: str, epoch: int, score: float) -> int | None:
        assert math.isfinite(score), (key, epoch, score)
        reached = [rung for rung in self.rung_epochs if self._highest.get(key, 0) < rung <= epoch]
        if not reached:
            return None
        self._highest[key] = reached[-1]
        bisect.insort(self._ascending[reached[-1]], score)
        return reached[-1]
