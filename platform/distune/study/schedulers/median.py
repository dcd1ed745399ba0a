"""Median stopping: a trial whose best score is below the median of the others' running means is stopped.

Source: Golovin et al., "Google Vizier: A Service for Black-Box Optimization", KDD 2017, section 3.2.2. Higher scores
are better.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence


def median(ascending: Sequence[float]) -> float:
    """Return the middle value, or the mean of the two middle values, of at least one value."""
    middle = len(ascending) // 2
    if len(ascending) % 2:
        return ascending[middle]
    return (ascending[middle - 1] + ascending[middle]) / 2


class MedianStopping:
    """Median stopping.

    From ``grace_epochs`` on, a trial continues after an epoch when its best score so far is at least the median of the
    running means of all other trials that have reached that epoch, stopped ones included. The running mean of a rising
    curve lags behind the curve, so the rule is mild: it stops only trials that do not improve.

    Args:
        grace_epochs: no trial is stopped before this epoch.
        min_trials: number of other trials that must have reached the epoch.
    """

    def __init__(self, *, grace_epochs: int, min_trials: int) -> None:
        self._grace_epochs, self._min_trials = grace_epochs, min_trials
        self._curves: dict[str, _Curve] = {}
        self._means: dict[int, list[float]] = {}

    def should_continue(self, key: str, epoch: int, score: float) -> bool:
        """Record the score of an epoch and return whether the trial continues.

        Args:
            key: of the trial. Controls are not reported here.
            epoch: number of epochs done.
            score: finite, higher is better; the caller ends trials that diverged.

        Returns:
            False to stop the trial.
        """
        mean = self._record(key, epoch, score)
        if mean is None or epoch < self._grace_epochs:
            return True
        others = list(self._means[epoch])
        others.remove(mean)
        return len(others) < self._min_trials or self._curves[key].best >= median(others)

    def restore(self, key: str, scores: Mapping[int, float]) -> None:
        """Record the scores of a trial of an earlier session. Scores that are not finite are ignored."""
        for epoch in sorted(scores):
            if math.isfinite(scores[epoch]):
                self._record(key, epoch, scores[epoch])

    def _record(self, key: str, epoch: int, score: float) -> float | None:
        """Record a score and return the trial's mean up to this epoch; None when the epoch is recorded already."""
        assert math.isfinite(score), (key, epoch, score)
        curve = self._curves.setdefault(key, _Curve())
        if epoch <= curve.epoch:
            return None
        curve.add(epoch, score)
        bisect.insort(self._means.setdefault(epoch, []), curve.mean)
        return curve.mean


class _Curve:
    def __init__(self) -> None:
        self.epoch, self.best = 0, -math.inf
        self._sum, self._count = 0.0, 0

    @property
    def mean(self) -> float:
        return self._sum / self._count

    def add(self, epoch: int, score: float) -> None:
        self.epoch, self.best = epoch, max(self.best, score)
        self._sum, self._count = self._sum + score, self._count + 1
