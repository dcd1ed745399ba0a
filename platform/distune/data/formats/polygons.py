"""Bounding boxes of polygons and of rotated rectangles, for formats in which objects may have other outlines."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from distune.data.masks import Segmentation
from distune.data.raw_split import Coordinates

NO_BOX: Coordinates = (math.nan, math.nan, math.nan, math.nan)
Point = tuple[float, float]


def bounding_box(points: Sequence[Point]) -> Coordinates:
    """Return xyxy of the smallest box around points; NaN without points, or where one is not finite."""
    if not points or not all(math.isfinite(value) for point in points for value in point):
        return NO_BOX
    x, y = [point[0] for point in points], [point[1] for point in points]
    return min(x), min(y), max(x), max(y)


def polygon(points: Sequence[Point]) -> Segmentation | None:
    """Return the segmentation of one polygon; None with fewer than three points, or where one is not finite."""
    if len(points) < 3 or any(map(math.isnan, bounding_box(points))):
        return None
    return np.array(points, dtype=np.float32)


def rotated_corners(box: Coordinates, degrees: float, *, center: Point) -> list[Point]:
    """Return the corners of a rectangle that is turned.

    Args:
        box: xyxy before the turn, in pixels.
        degrees: clockwise on the screen.
        center: of the turn.

    Returns:
        The four corners.
    """
    x1, y1, x2, y2 = box
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    across, down = center
    return [
        (across + (x - across) * cos - (y - down) * sin, down + (x - across) * sin + (y - down) * cos)
        for x, y in ((x1, y1), (x2, y1), (x2, y2), (x1, y2))
    ]


def read_number(value: object) -> float:
    """Return a number, also from text; NaN for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan
