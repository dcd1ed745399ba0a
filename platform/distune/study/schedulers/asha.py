"""Asynchronous successive halving, stop-only: of the trials that reach a rung, the best continue, ties included.

Source: Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020, arXiv 1810.05934, in the form
that stops trials instead of pausing and promoting them. Higher scores are better.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence


def rungs(grace_epochs: int, max_epochs: int, reduction_factor: float) -> tuple[int, ...]:
    """Return the epochs at which trials are compared: ``grace_epochs * reduction_factor^k``, rounded.

    The last epoch is no rung: a trial that reaches it has finished, whatever its rank.

    Args:
        grace_epochs: the first rung, at least 1.
        max_epochs: epochs of a whole trial.
        reduction_factor: greater than 1. Rungs that round to the same epoch are one rung.

    Returns:
        Epochs less than ``max_epochs`` in ascending order; empty when ``grace_epochs`` is not less.
    """
    found: list[int] = []
    reached = float(grace_epochs)
    while (epoch := math.floor(reached + 0.5)) < max_epochs:
        if not found or epoch > found[-1]:
            found.append(epoch)
        reached *= reduction_factor
    return tuple(found)


def num_kept(num_reached: int, reduction_factor: float) -> int:
    """Return how many of the trials at a rung continue: one in ``reduction_factor``, at least one.

    The first trial at a rung always continues. While fewer than ``reduction_factor`` trials have reached the rung, a
    later one continues only if it is the best so far. Decisions are final: trials are not paused, a trial that is
    overtaken later is not stopped, and a stopped trial is not resumed.
    """
    return max(1, math.floor(num_reached / reduction_factor + 1e-9))


class Asha:
    """Asynchronous successive halving.

    A trial has one score per rung. A report counts only for the highest rung that the trial newly reaches with it: the
    late score of a resumed trial in a low rung would stop good trials.

    Args:
        rung_epochs: see ``rungs``.
        reduction_factor: one trial in this many continues from a rung.

    Attributes:
        rung_epochs: the rungs in ascending order.
    """

    def __init__(self, rung_epochs: Sequence[int], *, reduction_factor: float) -> None:
        self.rung_epochs = tuple(sorted(rung_epochs))
        self._reduction_factor = reduction_factor
        self._ascending: dict[int, list[float]] = {rung: [] for rung in self.rung_epochs}
        self._highest: dict[str, int] = {}

    def scores(self, rung: int) -> tuple[float, ...]:
        """Return the scores at a rung, best first."""
        return tuple(reversed(self._ascending[rung]))

    def should_continue(self, key: str, epoch: int, score: float) -> bool:
        """Record the score of an epoch and return whether the trial continues.

        Args:
            key: of the trial. Controls are not reported here: they are never stopped and not compared.
            epoch: number of epochs done.
            score: finite, higher is better; the caller ends trials that diverged.

        Returns:
            False when the trial reaches a rung with this report, and its score is not among the best there. Equal
            scores share the better rank.
        """
        rung = self._record(key, epoch, score)
        if rung is None:
            return True
        ascending = self._ascending[rung]
        num_better = len(ascending) - bisect.bisect_right(ascending, score)
        return num_better < num_kept(len(ascending), self._reduction_factor)

    def restore(self, key: str, scores: Mapping[int, float]) -> None:
        """Record the scores of a trial of an earlier session.

        Args:
            key: of the trial.
            scores: epoch to score, as they were reported. Scores that are not finite are ignored.
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
