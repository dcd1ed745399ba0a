"""Average precision as Pascal VOC defines it.

Since 2010 it is the area under the interpolated precision-recall curve. Until 2009, so for VOC2007, it was the mean of
the interpolated precision at the recalls 0, 0.1, ..., 1.

Shape legend: ``N`` ground-truth boxes of an image, ``D`` its detections, ``T`` detections of a class over all images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoredImage:
    """Ground truth and detections of one image.

    Attributes:
        boxes_N4, labels_N: the ground truth, xyxy.
        ignored_N: bool, boxes whose detections are ignored.
        detected_D4, detected_labels_D, scores_D: the detections, xyxy.
    """

    boxes_N4: Floats
    labels_N: NDArray[np.int64]
    ignored_N: NDArray[np.bool_]
    detected_D4: Floats
    detected_labels_D: NDArray[np.int64]
    scores_D: Floats


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PrecisionCurve:
    """The precision-recall curve of one class.

    Attributes:
        num_boxes: ground-truth boxes that are not ignored, at least 1.
        hits_T: correct detections up to each detection, in the order of the scores, int64.
        precision_T: the best precision at the same or a higher recall, 0 to 1.
    """

    num_boxes: int
    hits_T: NDArray[np.int64]
    precision_T: Floats

    @property
    def area(self) -> float:
        """The average precision of VOC2010 and later, 0 to 1: all points count."""
        recall_T = self.hits_T / self.num_boxes
        return float((np.diff(recall_T, prepend=0.0) * self.precision_T).sum())

    @property
    def eleven_points(self) -> float:
        """The average precision of VOC2007, 0 to 1. Recalls are compared exactly, as whole numbers."""
        first_recalls = [np.searchsorted(10 * self.hits_T, tenths * self.num_boxes) for tenths in range(11)]
        return sum(float(self.precision_T[first]) for first in first_recalls if first < len(self.precision_T)) / 11


def voc_precision_curve(
    images: Sequence[ScoredImage], label: int, *, iou_threshold: float = 0.5
) -> PrecisionCurve | None:
    """Compute the precision-recall curve of one class.

    A detection is compared with the ground-truth box that it overlaps most. It is correct if the overlap is at least
    the threshold and no detection of higher score is matched to that box, ignored if the box is ignored, and wrong
    otherwise. Recall and precision follow the order of the scores over all images; each precision is
    replaced by the best one at the same or a higher recall.

    Args:
        images: all images of the split.
        label: the class.
        iou_threshold: minimum overlap of a correct detection.

    Returns:
        The curve; None if the class has no box that is not ignored.
    """
    num_boxes = sum(int(((image.labels_N == label) & ~image.ignored_N).sum()) for image in images)
    if num_boxes == 0:
        return None
    parts = [match_detections(image, label, iou_threshold) for image in images]
    scores_T = np.concatenate([scores for scores, _ in parts])
    correct_T = np.concatenate([correct for _, correct in parts])[np.argsort(-scores_T, kind="stable")]
    hits_T = np.cumsum(correct_T)
    precision_T = hits_T / np.arange(1, len(correct_T) + 1)
    best_T = np.maximum.accumulate(precision_T[::-1])[::-1]
    return PrecisionCurve(num_boxes=num_boxes, hits_T=hits_T, precision_T=best_T)


def match_detections(image: ScoredImage, label: int, iou_threshold: float) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the scores of an image's detections of a class, highest first, and which are correct, without ignored."""
    of_class_D = np.flatnonzero(image.detected_labels_D == label)
    of_class_D = of_class_D[np.argsort(-image.scores_D[of_class_D], kind="stable")]
    scores_D = image.scores_D[of_class_D]
    of_class_N = image.labels_N == label
    if not of_class_N.any() or len(of_class_D) == 0:
        return scores_D, np.zeros(len(scores_D), dtype=np.bool_)
    overlap_DN = box_iou(image.detected_D4[of_class_D], image.boxes_N4[of_class_N])
    best_D = overlap_DN.argmax(axis=1)
    hit_D = overlap_DN.max(axis=1) >= iou_threshold
    ignored_D = hit_D & image.ignored_N[of_class_N][best_D]
    candidates_D = np.flatnonzero(hit_D & ~ignored_D)
    _, first = np.unique(best_D[candidates_D], return_index=True)
    correct_D = np.zeros(len(scores_D), dtype=np.bool_)
    correct_D[candidates_D[first]] = True
    return scores_D[~ignored_D], correct_D[~ignored_D]


def box_iou(boxes_D4: Floats, others_N4: Floats) -> Floats:
    """Compute the intersection over union of each pair of boxes, (D, N)."""
    low_DN2 = np.maximum(boxes_D4[:, None, :2], others_N4[:, :2])
    high_DN2 = np.minimum(boxes_D4[:, None, 2:], others_N4[:, 2:])
    common_DN = (high_DN2 - low_DN2).clip(min=0.0).prod(axis=2)
    area_D1 = (boxes_D4[:, 2:] - boxes_D4[:, :2]).prod(axis=1)[:, None]
    area_N = (others_N4[:, 2:] - others_N4[:, :2]).prod(axis=1)
    union_DN = area_D1 + area_N - common_DN
    overlap_DN: Floats = np.divide(common_DN, union_DN, out=np.zeros_like(common_DN), where=union_DN > 0)
    return overlap_DN
