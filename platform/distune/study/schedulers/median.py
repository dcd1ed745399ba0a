"""Median stopping: a trial that never was as good as half of the others on average is stopped. No library in here.

Source: Golovin et al., "Google Vizier: A Service for Black-Box Optimization", KDD 2017, section 3.2.2. Higher scores
are better.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence


def median(ascending: Sequence[float]) -> float:
    """The middle value, or the mean of the two in the middle. At least one value is needed."""
    middle = len(ascending) // 2
    if len(ascending) % 2:
        return ascending[middle]
    return (ascending[middle - 1] + ascending[middle]) / 2


class MedianStopping:
    """What each trial had on average up to each epoch, and the decision about the next report.

    A trial is judged after every epoch from the grace on. It goes on when its best score so far is at least the median
    of the running means of all other trials that have come to that epoch, stopped ones included. The running mean of a
    rising curve lags behind it, so the rule is a mild one: it finds the trials that do not learn.

    Args:
        grace_epochs: no trial is stopped before it.
        min_trials: so many others must have come as far.
    """

    def __init__(self, *, grace_epochs: int, min_trials: int) -> None:
        self._grace_epochs, self._min_trials = grace_epochs, min_trials
        self._curves: dict[str, _Curve] = {}
        self._means: dict[int, list[float]] = {}

    def should_continue(self, key: str, epoch: int, score: float) -> bool:
        """Take a report and decide.

        Args:
            key: the trial. Controls are never reported here.
            epoch: epochs that the trial has done.
            score: finite; the caller ends a trial that has diverged.

        Returns:
            False when the trial is to be stopped.
        """
        own = self._record(key, epoch, score)
        if own is None or epoch < self._grace_epochs:
            return True
        others = list(self._means[epoch])
        others.remove(own)
        return len(others) < self._min_trials or self._curves[key].best >= median(others)

    def restore(self, key: str, scores: Mapping[int, float]) -> None:
        """Put a trial of an earlier session back. Scores that are not finite are left out."""
        for epoch in sorted(scores):
            if math.isfinite(scores[epoch]):
                self._record(key, epoch, scores[epoch])

    def _record(self, key: str, epoch: int, score: float) -> float | None:
        """The trial's mean up to this epoch; None when the epoch is known already."""
        assert math.isfinite(score), (key, epoch, score)
        curve = self._curves.setdefault(key, _Curve())
        if epoch <= curve.epoch:
            return None
        curve.take(epoch, score)
        bisect.insort(self._means.setdefault(epoch, []), curve.mean)
        return curve.mean


class _Curve:
    def __init__(self) -> None:
        self.epoch, self.best = 0, -math.inf
        self._sum, self._count = 0.0, 0

    @property
    def mean(self) -> float:
        return self._sum / self._count

    def take(self, epoch: int, score: float) -> None:
        self.epoch, self.best = epoch, max(self.best, score)
        self._sum, self._count = self._sum + score, self._count + 1
