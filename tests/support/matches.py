"""Match tables with given values."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distune.evidence.matches import ClassMatches, MatchTable


def make_table(hits_IB: NDArray[np.bool_], scores_IB: NDArray[np.float64], num_wrong: int = 1) -> MatchTable:
    """One class, the same number of boxes in every image, found or not, at one threshold; some wrong detections.

    Args:
        hits_IB: whether each of the B boxes of an image is found.
        scores_IB: of the detections that find them, 0 to 1.
        num_wrong: wrong detections per image, at scores in between.
    """
    num_images, num_boxes = hits_IB.shape
    wrong_IB = np.linspace(0.0, 1.0, num_images * num_wrong).reshape(num_images, num_wrong)
    scores_N = np.concatenate([scores_IB, wrong_IB], axis=1).ravel()
    hits_N = np.concatenate([hits_IB, np.zeros((num_images, num_wrong), np.bool_)], axis=1).ravel()
    is_made_N = np.concatenate([hits_IB, np.ones((num_images, num_wrong), np.bool_)], axis=1).ravel()
    images_N = np.repeat(np.arange(num_images), num_boxes + num_wrong)
    order_N = np.argsort(-scores_N, kind="stable")
    order_N = order_N[is_made_N[order_N]]
    entry = ClassMatches(
        images_N=images_N[order_N].astype(np.int32),
        hits_TN=hits_N[None, order_N],
        ignored_TN=np.zeros((1, len(order_N)), np.bool_),
        truths_I=np.full(num_images, num_boxes, np.int32),
    )
    return MatchTable(np.arange(num_images), {"all": (entry,)})
