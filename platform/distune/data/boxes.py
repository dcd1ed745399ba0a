"""Checks and clips boxes. Pure functions over arrays.

Shape legend: ``N`` boxes of a whole data set.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PROBLEMS = (
    "",  # a good box
    "has a coordinate that is not a finite number",
    "has no area",
    "is outside of the image",
    "is of a class that is not in the list of classes",
    "has no valid segmentation, which masks need",
)
"""The problem of a box by its number; 0 is a good box."""

NOT_FINITE, NO_AREA, OUTSIDE, UNKNOWN_CLASS, NO_SEGMENTATION = 1, 2, 3, 4, 5


def check_boxes(
    boxes_N4: NDArray[np.float64], labels_N: NDArray[np.int64], sizes_N2: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Clip boxes to their images and find bad ones. Boxes across the border are not bad.

    Args:
        boxes_N4: xyxy pixels, with any values.
        labels_N: 1 to C, or 0 for an unknown class.
        sizes_N2: width and height of the image of each box.

    Returns:
        The clipped boxes, float32 (N, 4), valid unless the box is bad; and the number of each box's problem in
        ``PROBLEMS``, int64 (N,), the first in that list.
    """
    finite_N: NDArray[np.bool_] = np.all(np.isfinite(boxes_N4), axis=1)
    safe_N4 = np.where(finite_N[:, None], boxes_N4, 0.0)
    limits_N4 = np.concatenate([sizes_N2, sizes_N2], axis=1).astype(np.float64)
    clipped_N4 = np.clip(safe_N4, 0.0, limits_N4).astype(np.float32)
    problems_N = np.zeros(len(boxes_N4), dtype=np.int64)
    problems_N[labels_N < 1] = UNKNOWN_CLASS
    problems_N[~_has_area(clipped_N4)] = OUTSIDE
    problems_N[~_has_area(safe_N4)] = NO_AREA
    problems_N[~finite_N] = NOT_FINITE
    return clipped_N4, problems_N


def areas(boxes_N4: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the areas of xyxy boxes in square pixels, (N,)."""
    return (boxes_N4[:, 2] - boxes_N4[:, 0]) * (boxes_N4[:, 3] - boxes_N4[:, 1])


def _has_area(boxes_N4: NDArray[np.float64] | NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.asarray((boxes_N4[:, 2] > boxes_N4[:, 0]) & (boxes_N4[:, 3] > boxes_N4[:, 1]), dtype=np.bool_)
