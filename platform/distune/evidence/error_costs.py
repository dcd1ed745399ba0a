"""The average precision that each kind of error costs: what fixing that kind alone would give (TIDE).

Shape legend: ``D`` detections and ``N`` ground-truth boxes of the whole split.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from distune.evidence.average_precision import score_of
from distune.evidence.error_kinds import HIT, IGNORED, REPAIRED, DetectorErrors, ErrorKind
from distune.evidence.matches import ClassMatches, MatchTable


def average_precision(errors: DetectorErrors, *, fixed: Collection[ErrorKind] = ()) -> float:
    """Compute the average precision at IoU 0.5 after errors of some kinds are fixed.

    A fixed classification or localization error is a hit of its box; if its box has several hits then, that with the
    highest score stays and the others are removed. Detections of the kinds both, duplicate and background are removed.
    Missed objects are removed from the ground truth; a class that has no object left counts 100.

    Args:
        errors: of a detector.
        fixed: kinds that are fixed; none gives the detector's own average precision.

    Returns:
        Points from 0 to 100: COCO's AP50.

    Raises:
        StudyError: the split has no box that counts.
    """
    kinds_D, truth = errors.kinds_D, errors.truth
    is_repaired_D = np.isin(kinds_D, [kind for kind in REPAIRED if kind in fixed])
    is_hit_D = (kinds_D == HIT) | is_repaired_D
    is_removed_D = (kinds_D == IGNORED) | (np.isin(kinds_D, list(fixed)) & ~is_repaired_D)
    labels_D = np.where(is_repaired_D, truth.labels_N[errors.targets_D], errors.detections.labels_D)
    ordered = np.argsort(-errors.detections.scores_D, kind="stable")
    hits = ordered[is_hit_D[ordered]]
    _, first = np.unique(errors.targets_D[hits], return_index=True)
    is_removed_D[np.delete(hits, first)] = True
    counted_N = ~truth.ignored_N & ~(errors.missed() if ErrorKind.MISSED in fixed else np.zeros_like(truth.ignored_N))
    ordered = ordered[~is_removed_D[ordered]]
    scores = []
    for label in np.unique(truth.labels_N[~truth.ignored_N]).tolist():
        objects_N = counted_N & (truth.labels_N == label)
        own = ordered[labels_D[ordered] == label]
        entry = ClassMatches(
            images_N=errors.detections.images_D[own].astype(np.int32),
            hits_TN=is_hit_D[own][None],
            ignored_TN=np.zeros((1, len(own)), np.bool_),
            truths_I=np.bincount(truth.images_N[objects_N], minlength=truth.num_images).astype(np.int32),
        )
        table = MatchTable(np.arange(truth.num_images), {"all": (entry,)})
        scores.append(score_of(table, "AP50") if objects_N.any() else 100.0)
    return float(np.mean(scores)) if scores else score_of(MatchTable(np.arange(truth.num_images), {"all": ()}), "AP50")


def costs_of(errors: DetectorErrors) -> dict[ErrorKind, float]:
    """Return how much AP50 rises, in points, if the errors of one kind alone are fixed; for each kind."""
    own = average_precision(errors)
    return {kind: average_precision(errors, fixed=[kind]) - own for kind in ErrorKind}
