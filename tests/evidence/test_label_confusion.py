"""The classes that a detector gives to the objects that it finds."""

from __future__ import annotations

import numpy as np

from distune.evidence.detections import Detections, GroundTruth
from distune.evidence.label_confusion import count_labels


def test_the_detection_with_the_highest_score_gives_the_label() -> None:
    box, far = [0.0, 0.0, 10.0, 10.0], [50.0, 0.0, 60.0, 10.0]
    truth = GroundTruth(
        classes=("cat", "dog"),
        num_images=3,
        images_N=np.array([0, 1, 1, 2]),
        boxes_N4=np.array([box, box, far, box]),
        labels_N=np.array([1, 1, 2, 2]),
        areas_N=np.full(4, 100.0),
        ignored_N=np.array([False, False, False, True]),
    )
    detections = Detections(
        images_D=np.array([0, 0, 1, 2]),
        boxes_D4=np.array([box, [1, 0, 11, 10], far, box], np.float32),
        labels_D=np.array([1, 2, 2, 1]),
        scores_D=np.array([0.4, 0.9, 0.3, 0.9], np.float32),
    )
    # The first cat is called a dog, the second one is not found, and the ignored dog does not count.
    assert count_labels(detections, truth).tolist() == [[1, 0, 1], [0, 0, 1]]
