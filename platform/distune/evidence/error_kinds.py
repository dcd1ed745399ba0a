"""Kinds of errors of a detector.

The kinds are those of TIDE (Bolya, Foley, Hays and Hoffman, ECCV 2020, arXiv 2008.08115), at IoU 0.5. Each detection
that is not scored as a hit has one kind. ``docs/decisions/error_kinds.md`` says what the paper leaves open.

Shape legend: ``D`` detections and ``N`` ground-truth boxes of the whole split, ``d`` and ``n`` those of an image.
"""

from __future__ import annotations

import dataclasses
import enum

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from distune.evidence.detections import Detections, GroundTruth

MIN_IOU = 0.5
"""Overlap from which a detection finds a box."""
MIN_BACKGROUND_IOU = 0.1
"""Overlap below which a detection has nothing to do with a box."""
MAX_DETECTIONS = 100
"""Detections of an image and class that count, as in COCO's metrics."""
HIT, IGNORED = "hit", "ignored"
"""A detection that is scored as correct; one of a crowd or difficult box, which is not scored."""

Flags = NDArray[np.bool_]


class ErrorKind(enum.StrEnum):
    """Kind of an error."""

    CLASSIFICATION = "classification"  # the place is right and the class is wrong
    LOCALIZATION = "localization"  # the class is right and the box is inaccurate
    BOTH = "both"  # wrong class and inaccurate box
    DUPLICATE = "duplicate"  # another detection with a higher score has found the object
    BACKGROUND = "background"  # there is no object
    MISSED = "missed"  # an object without a hit, which no classification or localization error is about


REPAIRED = (ErrorKind.CLASSIFICATION, ErrorKind.LOCALIZATION)
"""Kinds that become hits when they are fixed; fixing the others removes detections or objects."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class DetectorErrors:
    """The detections of one detector, each with its kind.

    Attributes:
        truth: the boxes of the split.
        detections: those that count for the metric.
        kinds_D: ``hit``, ``ignored`` or an ``ErrorKind``.
        targets_D: position of the box that a hit, a classification or a localization error is about; -1 for others.
    """

    truth: GroundTruth
    detections: Detections
    kinds_D: NDArray[np.str_]
    targets_D: NDArray[np.int64]

    def is_of_kind(self, kind: ErrorKind, *, min_score: float = 0.0) -> Flags:
        """Return the detections of a kind with at least a score, shape (D,)."""
        chosen_D: Flags = (self.kinds_D == kind.value) & (self.detections.scores_D >= min_score)
        return chosen_D

    def found(self, *, min_score: float = 0.0) -> Flags:
        """Return the boxes with a hit of at least a score, shape (N,)."""
        return self._targets_of(self.kinds_D == HIT, min_score)

    def missed(self, *, min_score: float = 0.0) -> Flags:
        """Return the boxes that are missed if only detections of at least a score are used, shape (N,)."""
        covered_N = self._targets_of(np.isin(self.kinds_D, [HIT, *REPAIRED]), min_score)
        return ~covered_N & ~self.truth.ignored_N

    def counts(self, *, min_score: float = 0.0) -> dict[ErrorKind, int]:
        """Return the number of errors of each kind if only detections of at least a score are used."""
        found = {kind: int(self.is_of_kind(kind, min_score=min_score).sum()) for kind in ErrorKind}
        return {**found, ErrorKind.MISSED: int(self.missed(min_score=min_score).sum())}

    def working_score(self) -> float:
        """Return the score at which the detector makes as many detections as there are objects; 0 if it makes fewer.

        The numbers of errors of two detectors can be compared there, whatever the scales of their scores.
        """
        scores_D = np.sort(self.detections.scores_D[self.kinds_D != IGNORED])[::-1]
        num_objects = int((~self.truth.ignored_N).sum())
        return float(scores_D[num_objects - 1]) if 0 < num_objects <= len(scores_D) else 0.0

    def _targets_of(self, chosen_D: Flags, min_score: float) -> Flags:
        is_target_N = np.zeros(len(self.truth.labels_N), np.bool_)
        is_target_N[self.targets_D[chosen_D & (self.detections.scores_D >= min_score)]] = True
        return is_target_N


def find_errors(detections: Detections, truth: GroundTruth) -> DetectorErrors:
    """Find the kind of each detection.

    A detection takes the box of its class with the largest overlap of at least 0.5 that no detection with a higher
    score has taken, as in COCO's evaluation. Any other detection has the first kind that applies: duplicate (a box of
    its class overlaps it by at least 0.5), classification (one of another class does), localization (a box of its class
    overlaps it by at least 0.1), both (one of another class does), background.

    Args:
        detections: of one detector.
        truth: the boxes of the same split.

    Returns:
        The detections that count, with their kinds.
    """
    detections = _that_count(detections)
    kinds_D = np.full(len(detections.scores_D), ErrorKind.BACKGROUND.value, "U14")
    targets_D = np.full(len(kinds_D), -1, np.int64)
    for image in np.unique(detections.images_D).tolist():
        own = slice(*np.searchsorted(detections.images_D, [image, image + 1]))
        boxes = truth.positions_in(image)
        kinds_D[own], positions_d = _kinds_in_image(
            detections.labels_D[own],
            detections.scores_D[own],
            truth.labels_N[boxes],
            truth.ignored_N[boxes],
            overlaps(detections.boxes_D4[own], truth.boxes_N4[boxes], truth.ignored_N[boxes]),
        )
        targets_D[own] = np.where(positions_d < 0, -1, positions_d + boxes.start)
    return DetectorErrors(truth=truth, detections=detections, kinds_D=kinds_D, targets_D=targets_D)


def overlaps(boxes_d4: NDArray[np.floating], others_n4: NDArray[np.floating], crowd_n: Flags) -> NDArray[np.float64]:
    """Return the IoU of boxes, by pycocotools; with a crowd box, the part of the first box that it covers.

    Args:
        boxes_d4: xyxy pixels.
        others_n4: the same.
        crowd_n: crowd boxes among the latter.

    Returns:
        Shape (d, n).
    """
    if not len(boxes_d4) or not len(others_n4):
        return np.zeros((len(boxes_d4), len(others_n4)))
    first, second = (np.asarray(each, np.float64) for each in (boxes_d4, others_n4))
    first, second = (np.concatenate([each[:, :2], each[:, 2:] - each[:, :2]], axis=1) for each in (first, second))
    found_dn: NDArray[np.float64] = coco_mask.iou(first, second, crowd_n.astype(np.uint8).tolist())
    return found_dn


def _that_count(detections: Detections) -> Detections:
    """Return the detections with the highest scores of each image and class, by image and in their order."""
    order_D = np.lexsort((-detections.scores_D, detections.labels_D, detections.images_D))
    keys_D = np.stack([detections.images_D, detections.labels_D], axis=1)[order_D]
    is_first_D = np.ones(len(order_D), np.bool_)
    is_first_D[1:] = (keys_D[1:] != keys_D[:-1]).any(axis=1)
    starts_D = np.maximum.accumulate(np.where(is_first_D, np.arange(len(order_D)), 0))
    kept = np.sort(order_D[np.arange(len(order_D)) - starts_D < MAX_DETECTIONS])
    return Detections(
        images_D=detections.images_D[kept],
        boxes_D4=detections.boxes_D4[kept],
        labels_D=detections.labels_D[kept],
        scores_D=detections.scores_D[kept],
    )


def _kinds_in_image(
    labels_d: NDArray[np.int64],
    scores_d: NDArray[np.float32],
    truth_labels_n: NDArray[np.int64],
    ignored_n: Flags,
    overlaps_dn: NDArray[np.float64],
) -> tuple[NDArray[np.str_], NDArray[np.int64]]:
    """Return kind and target of each detection of an image, shapes (d,) and (d,)."""
    kinds_d = np.full(len(labels_d), ErrorKind.BACKGROUND.value, "U14")
    targets_d = np.full(len(labels_d), -1, np.int64)
    free_n = ~ignored_n
    for index in np.argsort(-scores_d, kind="stable").tolist():
        overlaps_n, is_own_n = overlaps_dn[index], truth_labels_n == labels_d[index]
        target = _nearest(overlaps_n, is_own_n & free_n, MIN_IOU)
        if target >= 0:
            free_n[target] = False
            kinds_d[index], targets_d[index] = HIT, target
            continue
        if _nearest(overlaps_n, is_own_n & ignored_n, MIN_IOU) >= 0:
            kinds_d[index] = IGNORED
            continue
        for kind, are_candidates_n, least in (
            (ErrorKind.DUPLICATE, is_own_n, MIN_IOU),
            (ErrorKind.CLASSIFICATION, ~is_own_n, MIN_IOU),
            (ErrorKind.LOCALIZATION, is_own_n, MIN_BACKGROUND_IOU),
            (ErrorKind.BOTH, ~is_own_n, MIN_BACKGROUND_IOU),
        ):
            target = _nearest(overlaps_n, are_candidates_n & ~ignored_n, least)
            if target >= 0:
                kinds_d[index], targets_d[index] = kind.value, target if kind in REPAIRED else -1
                break
    return kinds_d, targets_d


def _nearest(overlaps_n: NDArray[np.float64], are_candidates_n: Flags, least: float) -> int:
    """Return the candidate with the largest overlap of at least ``least``, the last of equal ones; -1 if none has."""
    reached_n = np.where(are_candidates_n, overlaps_n, -1.0)
    if not len(reached_n) or reached_n.max() < least:
        return -1
    return int(np.flatnonzero(reached_n == reached_n.max())[-1])
