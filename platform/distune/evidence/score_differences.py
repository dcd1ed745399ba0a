"""Differences between the scores of two detectors on the same images: overall, by class and by size of the objects.

Shape legend: ``R`` resamples, ``I`` images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from distune.errors import StudyError
from distune.evidence.average_precision import Floats, resampled_scores
from distune.evidence.matches import ClassMatches, MatchTable
from distune.evidence.resampling import DIFFERENT_IMAGES, draw_counts
from distune.evidence.shared_classes import score_without, unknown_classes

NUM_RESAMPLES = 200
"""Enough for a standard error with an error of about 5%."""
SIZES = ("small", "medium", "large")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreDifference:
    """The difference between two average precisions, in points.

    Attributes:
        first: score of the first detector.
        second: of the second one.
        error: standard error of the difference due to the choice of images; 0 if it is not measured.
    """

    first: float
    second: float
    error: float = 0.0

    @property
    def mean(self) -> float:
        """The first minus the second."""
        return self.first - self.second


def score_differences(
    first: MatchTable, second: MatchTable, classes: Sequence[str], *, known: Sequence[str] | None = None
) -> dict[str, ScoreDifference]:
    """Compare two detectors on the same resamples of their images.

    Args:
        first: matches of the first detector.
        second: of the second one, on the same images.
        classes: of the tables, in their order, as metrics name them.
        known: classes that both detectors know; all when None.

    Returns:
        ``AP``, ``AP_small`` and the like, and ``AP/<class>``, without those that no box counts for.

    Raises:
        StudyError: the tables are of different images.
    """
    if not np.array_equal(first.image_ids_I, second.image_ids_I):
        raise StudyError(DIFFERENT_IMAGES)
    counts_RI = draw_counts(first.num_images, num_resamples=NUM_RESAMPLES, generator=np.random.default_rng(0))
    chosen = [index for index, name in enumerate(classes) if known is None or name in known]

    def scores(table: MatchTable, part: str, indices: Sequence[int]) -> Floats:
        entries: tuple[ClassMatches, ...] = tuple(table.parts[part][index] for index in indices)
        return resampled_scores(MatchTable(table.image_ids_I, {"all": entries}), "AP", counts_RI)

    parts: dict[str, tuple[str, Sequence[int]]] = {"AP": ("all", chosen)}
    parts |= {f"AP_{size}": (size, chosen) for size in SIZES if size in first.parts}
    parts |= {f"AP/{classes[index]}": ("all", [index]) for index in chosen}
    found = {}
    for name, (part, indices) in parts.items():
        difference = _difference(scores(first, part, indices), scores(second, part, indices))
        if difference is not None:
            found[name] = difference
    return found


def recorded_differences(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, ScoreDifference]:
    """Compare recorded metrics, such as ``search/AP``, without errors.

    Args:
        first: of the first detector, which may lack classes.
        second: of the second one.

    Returns:
        As ``score_differences``, on the classes that both know: without sizes where the first one lacks some, since no
        class of a size is on record.
    """
    unknown = unknown_classes(first, second)
    names = [name for name in first if name.startswith("search/AP/") or (name.startswith("search/AP_") and not unknown)]
    found = {name: (first[name], second[name]) for name in names if name in second}
    overall = score_without(second, "search/AP", unknown)
    if "search/AP" in first and overall is not None:
        found = {"search/AP": (first["search/AP"], overall), **found}
    return {name.removeprefix("search/"): ScoreDifference(first=one, second=two) for name, (one, two) in found.items()}


def _difference(first_R: Floats, second_R: Floats) -> ScoreDifference | None:
    if np.isnan(first_R[0]) or np.isnan(second_R[0]):
        return None
    differences_R = (first_R - second_R)[1:]
    differences_R = differences_R[~np.isnan(differences_R)]
    error = float(differences_R.std(ddof=1)) if len(differences_R) > 1 else 0.0
    return ScoreDifference(first=float(first_R[0]), second=float(second_R[0]), error=error)
