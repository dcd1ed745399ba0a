"""Tags of generated objects, and their places in an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

UNIT_PX = 96
"""Sizes are given for images with this side, and scale with it."""

_MAX_COVERED = 0.1
_PLACEMENT_TRIES = 30


def draw_tags(
    generator: np.random.Generator, *, blurred_share: float, occluded_share: float, small_share: float
) -> frozenset[str]:
    """Draw the tags of an object: each of ``blurred``, ``occluded`` and ``small`` with its probability."""
    fractions = {"blurred": blurred_share, "occluded": occluded_share, "small": small_share}
    return frozenset(tag for tag, fraction in fractions.items() if generator.random() < fraction)


def find_place(
    generator: np.random.Generator,
    extent_2: NDArray[np.float64],
    taken: Sequence[NDArray[np.float64]],
    *,
    size_px: int,
) -> NDArray[np.float64] | None:
    """Find a random place for a box that hardly overlaps with others.

    Args:
        generator: of random numbers.
        extent_2: width and height of the box in pixels.
        taken: xyxy boxes of the other objects.
        size_px: side of the image.

    Returns:
        x and y of the upper left corner, (2,); None when there is no room.
    """
    for _ in range(_PLACEMENT_TRIES):
        corner_2 = generator.uniform(0.0, size_px - extent_2)
        box_4 = np.concatenate([corner_2, corner_2 + extent_2])
        if all(_covered(box_4, other_4) <= _MAX_COVERED for other_4 in taken):
            return corner_2
    return None


def _covered(box_4: NDArray[np.float64], other_4: NDArray[np.float64]) -> float:
    """Return the overlap of two boxes as a fraction of the smaller one."""
    ax1, ay1, ax2, ay2 = box_4.tolist()
    bx1, by1, bx2, by2 = other_4.tolist()
    overlap = max(0.0, min(ax2, bx2) - max(ax1, bx1)) * max(0.0, min(ay2, by2) - max(ay1, by1))
    return float(overlap / min((ax2 - ax1) * (ay2 - ay1), (bx2 - bx1) * (by2 - by1)))
