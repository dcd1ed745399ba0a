"""How much better a student is than its control, and how sure that is: over training seeds and over images.

Shape legend: ``S`` seeds, ``R`` resamples of the images, ``I`` images.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from distune.errors import StudyError
from distune.evidence.average_precision import Floats
from distune.evidence.resampling import CHANGED, ResampledRuns

LEVEL = 0.95
"""Of every interval."""
MIN_SEEDS = 3
"""With fewer the interval is honest and useless: the t quantile is 12.7 for two seeds, and there is none for one."""
MIN_IMAGES = 10
"""With fewer that hold what a metric is about, a bootstrap of the images does not know how much they vary."""
_MOST_SEEDS = 1000


class Verdict(enum.StrEnum):
    """What an interval says."""

    GAIN = "gain"  # all of it above zero
    NOT_SHOWN = "not shown"  # zero is in it
    LOSS = "loss"  # all of it below zero
    UNDECIDED = "undecided"  # one seed or a handful of images: nothing is known about the spread between them
    UNSTABLE = "unstable"  # above zero, but the student has diverged under other seeds, which an interval does not know


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gain:
    """The gain of a student over its control, in points of a metric.

    Attributes:
        metric: one of ``METRICS``.
        mean: over the seeds.
        low, high: of the 95% interval. With one seed it is over images alone.
        student, control: their mean scores.
        by_seed: seed to the gain under it, on all images.
        num_images: of the split, those that hold a box that the metric is about.
        error_seeds: standard error of ``mean`` that comes of training again, with other seeds.
        error_images: standard error of ``mean`` that comes of other images, alike for all seeds.
    """

    metric: str
    mean: float
    low: float
    high: float
    student: float
    control: float
    by_seed: dict[int, float]
    num_images: int
    error_seeds: float
    error_images: float

    @property
    def num_seeds(self) -> int:
        """How many seeds."""
        return len(self.by_seed)

    @property
    def verdict(self) -> Verdict:
        """What the interval says."""
        if self.num_seeds < 2 or self.num_images < MIN_IMAGES:
            return Verdict.UNDECIDED
        if self.low > 0:
            return Verdict.GAIN
        return Verdict.LOSS if self.high < 0 else Verdict.NOT_SHOWN

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary; ``from_dict`` turns it back."""
        return {**dataclasses.asdict(self), "by_seed": {str(seed): value for seed, value in self.by_seed.items()}}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Gain:
        """The inverse of ``to_dict``. Raises ``TypeError`` on other keys."""
        return cls(**{**values, "by_seed": {int(seed): float(value) for seed, value in values["by_seed"].items()}})


def measure_gain(students: ResampledRuns, controls: ResampledRuns) -> Gain:
    """The gain of a student over its control, paired by seed, image and resample, with its interval.

    Args:
        students: scored with the same metric, on the same resamples as ``controls``.
        controls: of the same seeds; seeds that only one of the two has are left out.

    Raises:
        StudyError: no seed in common, tables of different images, or no box that the metric is about.
    """
    seeds = sorted(students.scores.keys() & controls.scores.keys())
    if not seeds:
        raise StudyError("the student and its control have no seed in common, so there is nothing to compare")
    if not np.array_equal(students.image_ids_I, controls.image_ids_I):
        raise StudyError(CHANGED)
    return gain_from_scores(
        seeds,
        np.stack([students.scores[seed] for seed in seeds]),
        np.stack([controls.scores[seed] for seed in seeds]),
        metric=students.metric,
        num_images=students.num_images,
    )


def gain_from_scores(
    seeds: list[int], students_SR: Floats, controls_SR: Floats, *, metric: str, num_images: int
) -> Gain:
    """The gain and its interval from scores; the first column is the split itself, the others are resamples of it.

    Seeds and images are two crossed sources of chance: every seed is scored on the same images. Under seed ``s``, with
    the images at hand, the gain is ``D_s = mu + a_s + b + c_s``: ``a`` is of the seed, ``b`` of the images and alike
    for all seeds, ``c`` of both together. The spread of the ``D_s`` estimates ``var(a) + var(c)``, with S-1 degrees of
    freedom, and does not see ``b``. The resamples show ``var(b) + var(c)/S`` in their mean over seeds, and ``var(c)``
    in what is left. So the variance of the mean is ``s^2/S + var(b)``, and its degrees of freedom are Satterthwaite's
    (Biometrics Bulletin 2, 1946): S-1 where seeds decide, about the number of images with such boxes where images do.
    The interval is Student's t.

    Raises:
        StudyError: the split holds no box that the metric is about.
    """
    gains_SR = students_SR - controls_SR
    gains_S, resampled_SR = gains_SR[:, 0], gains_SR[:, 1:]
    if np.isnan(gains_S).any():
        raise StudyError(f"{metric}: the split holds no box that it is about; choose another one with --metric")
    num_seeds = len(seeds)
    variance_seeds = float(gains_S.var(ddof=1)) / num_seeds if num_seeds > 1 else 0.0
    variance_images = _image_variance(resampled_SR[:, ~np.isnan(resampled_SR).any(axis=0)])
    half = _half_width(variance_seeds, variance_images, num_seeds=num_seeds, num_images=num_images)
    mean = float(gains_S.mean())
    return Gain(
        metric=metric,
        mean=mean,
        low=mean - half,
        high=mean + half,
        student=float(students_SR[:, 0].mean()),
        control=float(controls_SR[:, 0].mean()),
        by_seed=dict(zip(seeds, gains_S.tolist(), strict=True)),
        num_images=num_images,
        error_seeds=math.sqrt(variance_seeds),
        error_images=math.sqrt(variance_images),
    )


def seeds_to_show(gain: Gain) -> int | None:
    """How many seeds would show a gain of this size, if it is as large as it looks; None where no number would.

    Then more images are needed, or there is no gain. With one seed nothing can be said; the answer is ``MIN_SEEDS``.
    """
    if gain.num_seeds < 2:
        return MIN_SEEDS
    variance_one_seed = gain.error_seeds**2 * gain.num_seeds
    for num_seeds in range(MIN_SEEDS, _MOST_SEEDS + 1):
        half = _half_width(
            variance_one_seed / num_seeds, gain.error_images**2, num_seeds=num_seeds, num_images=gain.num_images
        )
        if half < abs(gain.mean):
            return num_seeds
    return None


def _image_variance(resampled_SR: NDArray[np.float64]) -> float:
    """Variance of the gain that comes of the images and is alike for all seeds."""
    num_seeds, num_resamples = resampled_SR.shape
    if num_resamples < 2:
        return 0.0
    mean_R = resampled_SR.mean(axis=0)
    variance_of_mean = float(mean_R.var(ddof=1))
    if num_seeds < 2:
        return variance_of_mean
    variance_together = float((resampled_SR - mean_R).var(axis=1, ddof=1).sum()) / (num_seeds - 1)
    counted_already: float = variance_together / num_seeds
    return max(0.0, variance_of_mean - counted_already)


def _half_width(variance_seeds: float, variance_images: float, *, num_seeds: int, num_images: int) -> float:
    variance = variance_seeds + variance_images
    if variance == 0.0:
        return 0.0
    shares = variance_seeds**2 / max(1, num_seeds - 1) + variance_images**2 / max(1, num_images - 1)
    return float(stats.t.ppf(0.5 + LEVEL / 2, variance**2 / shares)) * math.sqrt(variance)
