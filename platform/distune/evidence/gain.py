"""The gain of a student over its control, with a confidence interval over training seeds and images.

Does not load numpy or scipy before a gain is measured: ``distune status`` only reads recorded gains.

Shape legend: ``S`` seeds, ``U`` teachers or seeds, ``R`` resamples of the images, ``I`` images.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from typing import TYPE_CHECKING, Any

from distune.errors import StudyError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from distune.evidence.average_precision import Floats
    from distune.evidence.resampling import ResampledRuns

ERROR = 0.05
"""Nominal error of an interval that is computed once: 1 minus its level."""
MIN_SEEDS = 3
"""With fewer, the interval is too wide to use: the t quantile is 12.7 for two seeds, and undefined for one."""
MIN_IMAGES = 10
"""With fewer images that count for the metric, a bootstrap does not estimate the variance between images."""


class Verdict(enum.StrEnum):
    """The conclusion from an interval."""

    GAIN = "gain"  # the whole interval is above zero
    NOT_SHOWN = "not shown"  # it contains zero
    LOSS = "loss"  # the whole interval is below zero
    NO_RELEVANT_GAIN = "no relevant gain"  # it contains zero, and ends below what the user cares for
    UNDECIDED = "undecided"  # one seed or very few images: the variance between them is unknown
    UNSTABLE = "unstable"  # above zero, but the student diverged under other seeds, which are not in the interval


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gain:
    """The gain of a student over its control, in points of a metric.

    Attributes:
        metric: one of ``METRICS``.
        mean: over the seeds.
        low, high: ends of the interval. With one seed it covers the images alone.
        student, control: their mean scores.
        by_seed: seed to the gain under it, on all images.
        num_images: images of the split with a ground-truth box that counts for the metric.
        error_seeds: standard error of ``mean`` due to the training seeds.
        error_images: standard error of ``mean`` due to the choice of images, common to all seeds.
        nominal_error: 1 minus the level of the t quantile: 5% for an interval that is computed once, less for one of
            several that together miss the true gain in at most 5% of cases (``distune.evidence.repeated_analyses``).
        num_teachers: teachers that the students learned from. With more than one, the interval covers teachers, and the
            seeds of a teacher count together.
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
    nominal_error: float = ERROR
    num_teachers: int = 1

    @property
    def num_seeds(self) -> int:
        """Number of seeds."""
        return len(self.by_seed)

    @property
    def num_units(self) -> int:
        """Number of independent gains in the interval: seeds, or teachers where there are several."""
        return self.num_seeds if self.num_teachers == 1 else self.num_teachers

    @property
    def verdict(self) -> Verdict:
        """The conclusion from the interval."""
        if self.num_units < 2 or self.num_images < MIN_IMAGES:
            return Verdict.UNDECIDED
        if self.low > 0:
            return Verdict.GAIN
        return Verdict.LOSS if self.high < 0 else Verdict.NOT_SHOWN

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary; ``from_dict`` reads it back."""
        return {**dataclasses.asdict(self), "by_seed": {str(seed): value for seed, value in self.by_seed.items()}}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Gain:
        """Return the gain of a dictionary from ``to_dict``. Raises ``TypeError`` for other keys."""
        return cls(**{**values, "by_seed": {int(seed): float(value) for seed, value in values["by_seed"].items()}})


def measure_gain(
    students: ResampledRuns,
    controls: ResampledRuns,
    *,
    error: float = ERROR,
    teacher_of: Callable[[int], int] | None = None,
) -> Gain:
    """Measure the gain of a student over its control, paired by seed, image and resample, with its interval.

    Args:
        students: scored with the same metric and on the same resamples as ``controls``.
        controls: seeds that only one of the two has are left out.
        error: nominal error of the interval.
        teacher_of: seed to the number of its teacher; None where all have the same.

    Returns:
        The gain.

    Raises:
        StudyError: no seed in common, tables of different images, or no box that counts for the metric.
    """
    import numpy as np

    from distune.evidence.resampling import DIFFERENT_IMAGES

    seeds = sorted(students.scores.keys() & controls.scores.keys())
    if not seeds:
        raise StudyError("the student and its control have no seed in common, so there is nothing to compare")
    if not np.array_equal(students.image_ids_I, controls.image_ids_I):
        raise StudyError(DIFFERENT_IMAGES)
    return gain_from_scores(
        seeds,
        np.stack([students.scores[seed] for seed in seeds]),
        np.stack([controls.scores[seed] for seed in seeds]),
        metric=students.metric,
        num_images=students.num_images,
        error=error,
        teachers=None if teacher_of is None else [teacher_of(seed) for seed in seeds],
    )


def gain_from_scores(
    seeds: list[int],
    students_SR: Floats,
    controls_SR: Floats,
    *,
    metric: str,
    num_images: int,
    error: float = ERROR,
    teachers: Sequence[int] | None = None,
) -> Gain:
    """Compute the gain and its interval from scores.

    Seeds and images are crossed random effects: every seed is scored on the same images. Under seed ``s`` the gain is
    ``D_s = mu + a_s + b + c_s``, with ``a`` due to the seed, ``b`` due to the images and common to all seeds, and ``c``
    their interaction. The variance of the ``D_s`` estimates ``var(a) + var(c)`` with S-1 degrees of freedom, and does
    not contain ``b``. The resamples give ``var(b) + var(c)/S`` as the variance of their mean over seeds, and ``var(c)``
    as the residual variance. So the variance of the mean is ``s^2/S + var(b)``. The half-width of the interval is
    ``sqrt(t_s^2 s^2/S + t_b^2 var(b))`` with Student's t quantiles for S-1 degrees of freedom and for the number of
    images less one (Howe, Journal of the American Statistical Association 69, 1974). It is exact where one part
    dominates and slightly too wide between; with Satterthwaite's degrees of freedom intervals of three seeds are too
    narrow there.

    Args:
        seeds: of the rows.
        students_SR: scores; the first column is on the split itself, the others on its resamples.
        controls_SR: the same for the controls.
        metric: one of ``METRICS``.
        num_images: images of the split with a ground-truth box that counts for the metric.
        error: nominal error of the interval.
        teachers: number of the teacher of each row; None where all have the same. Seeds are nested in teachers: the
            mean gain of a teacher's seeds takes the place of the gain under a seed, so that the interval covers
            teachers.

    Returns:
        The gain.

    Raises:
        StudyError: no box of the split counts for the metric.
    """
    import numpy as np

    by_seed_S = students_SR[:, 0] - controls_SR[:, 0]
    if np.isnan(by_seed_S).any():
        raise StudyError(f"{metric}: no box of the split counts for this metric; choose another metric")
    students_UR, controls_UR = (_mean_of_teachers(each_SR, teachers) for each_SR in (students_SR, controls_SR))
    gains_UR = students_UR - controls_UR
    gains_U, resampled_UR = gains_UR[:, 0], gains_UR[:, 1:]
    num_units = len(gains_U)
    variance_seeds = float(gains_U.var(ddof=1)) / num_units if num_units > 1 else 0.0
    variance_images = _image_variance(resampled_UR[:, ~np.isnan(resampled_UR).any(axis=0)])
    half = half_width(variance_seeds, variance_images, num_seeds=num_units, num_images=num_images, error=error)
    mean = float(gains_U.mean())
    return Gain(
        metric=metric,
        mean=mean,
        low=mean - half,
        high=mean + half,
        student=float(students_UR[:, 0].mean()),
        control=float(controls_UR[:, 0].mean()),
        by_seed=dict(zip(seeds, by_seed_S.tolist(), strict=True)),
        num_images=num_images,
        error_seeds=math.sqrt(variance_seeds),
        error_images=math.sqrt(variance_images),
        nominal_error=error,
        num_teachers=1 if teachers is None else len(set(teachers)),
    )


def _mean_of_teachers(scores_SR: Floats, teachers: Sequence[int] | None) -> Floats:
    """Return the mean scores of each teacher's seeds, one row per teacher; the rows themselves with one teacher."""
    import numpy as np

    if teachers is None or len(set(teachers)) == 1:
        return scores_SR
    numbers = np.array(teachers)
    return np.stack([scores_SR[numbers == number].mean(axis=0) for number in sorted(set(teachers))])


def _image_variance(resampled_SR: NDArray[np.float64]) -> float:
    """Return the variance of the gain that is due to the images and common to all seeds."""
    num_seeds, num_resamples = resampled_SR.shape
    if num_resamples < 2:
        return 0.0
    mean_R = resampled_SR.mean(axis=0)
    variance_of_mean = float(mean_R.var(ddof=1))
    if num_seeds < 2:
        return variance_of_mean
    variance_interaction = float((resampled_SR - mean_R).var(axis=1, ddof=1).sum()) / (num_seeds - 1)
    in_seed_variance: float = variance_interaction / num_seeds
    return max(0.0, variance_of_mean - in_seed_variance)


def half_width(
    variance_seeds: float, variance_images: float, *, num_seeds: int, num_images: int, error: float
) -> float:
    """Return half the width of an interval, in points (Howe; see ``gain_from_scores``).

    Args:
        variance_seeds: variance of the mean gain due to the training seeds.
        variance_images: variance of the mean gain due to the images, common to all seeds.
        num_seeds: at least 1.
        num_images: images of the split with a ground-truth box that counts for the metric.
        error: nominal error of the interval.

    Returns:
        The distance from the mean to either end.
    """
    from scipy import special  # slow to load, and only needed here

    def part(variance: float, degrees: int) -> float:
        return float(special.stdtrit(degrees, error / 2)) ** 2 * variance if variance > 0 else 0.0

    return math.sqrt(part(variance_seeds, max(1, num_seeds - 1)) + part(variance_images, max(1, num_images - 1)))
