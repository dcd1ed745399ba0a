"""Scores of the runs of an arm on resamples of the images: the same resamples for every arm.

Shape legend: ``R`` resamples, ``I`` images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from distune.errors import StudyError
from distune.evidence.average_precision import Counts, Floats, resampled_scores
from distune.evidence.matches import MatchTable

NUM_RESAMPLES = 1000
DIFFERENT_IMAGES = "the runs were scored on different images: the data has changed since"


def draw_counts(num_images: int, *, num_resamples: int, generator: np.random.Generator) -> Counts:
    """Draw how often each resample contains each image, (1 + num_resamples, num_images); the first is the split."""
    uniform_I = np.full(num_images, 1.0 / num_images)
    drawn_RI = generator.multinomial(num_images, uniform_I, size=num_resamples)
    return np.concatenate([np.ones((1, num_images), np.int32), drawn_RI.astype(np.int32)])


@dataclasses.dataclass(frozen=True, eq=False)
class ResampledRuns:
    """The runs of one arm, scored on resamples of the images.

    Attributes:
        metric: one of ``METRICS``.
        image_ids_I: the images.
        num_images: how many of them have a ground-truth box that counts for the metric.
        scores: seed to its scores, shape (1 + R,); the first is on the split itself.
    """

    metric: str
    image_ids_I: NDArray[np.int64]
    num_images: int
    scores: dict[int, Floats]


def resample_runs(
    tables: Mapping[int, MatchTable], metric: str, *, num_resamples: int = NUM_RESAMPLES, random_seed: int = 0
) -> ResampledRuns:
    """Score runs on resamples of their images: the same resamples for all arms with the same random seed.

    Args:
        tables: seed to the matches of the student that was trained with this seed.
        metric: one of ``METRICS``.
        num_resamples: of the images.
        random_seed: of the resampling.

    Returns:
        The scores of each run.

    Raises:
        StudyError: the tables are of different images, or there is none.
    """
    if not tables:
        raise StudyError("no run has finished, so there is nothing to compare")
    any_table = next(iter(tables.values()))
    ids_I = any_table.image_ids_I
    if any(not np.array_equal(table.image_ids_I, ids_I) for table in tables.values()):
        raise StudyError(DIFFERENT_IMAGES)
    generator = np.random.default_rng(random_seed)
    counts_RI = draw_counts(len(ids_I), num_resamples=num_resamples, generator=generator)
    scores = {seed: resampled_scores(table, metric, counts_RI) for seed, table in tables.items()}
    return ResampledRuns(metric, ids_I, any_table.num_images_with_boxes(metric), scores)
