"""The classes that a detector gives to the objects that it finds.

Shape legend: ``C`` classes, ``D`` detections and ``N`` ground-truth boxes of the whole split.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distune.evidence.detections import Detections, GroundTruth
from distune.evidence.error_kinds import MIN_IOU, overlaps


def count_labels(detections: Detections, truth: GroundTruth) -> NDArray[np.int64]:
    """Count the labels that a detector gives to the objects of each class.

    The label of an object is that of the detection with the highest score that overlaps it by an IoU of at least 0.5,
    whatever its class.

    Args:
        detections: of the detector.
        truth: the boxes of the same split; crowd and difficult boxes do not count.

    Returns:
        Shape (C, 1 + C): rows are true classes; column 0 holds objects that no detection overlaps, column ``c`` those
        with the label ``c``.
    """
    num_classes = len(truth.classes)
    counts_CL = np.zeros((num_classes, 1 + num_classes), np.int64)
    for image in np.unique(truth.images_N).tolist():
        boxes, found = truth.positions_in(image), detections.of_image(image)
        overlaps_dn = overlaps(found.boxes_D4, truth.boxes_N4[boxes], np.zeros(boxes.stop - boxes.start, np.bool_))
        scores_dn = np.where(overlaps_dn >= MIN_IOU, found.scores_D[:, None], -1.0)
        for index, (label, is_ignored) in enumerate(zip(truth.labels_N[boxes], truth.ignored_N[boxes], strict=True)):
            if is_ignored:
                continue
            is_found = len(scores_dn) > 0 and scores_dn[:, index].max() >= 0
            counts_CL[label - 1, found.labels_D[scores_dn[:, index].argmax()] if is_found else 0] += 1
    return counts_CL
