"""Segmentations of objects in annotation files, in a compact form, and the masks drawn from them.

Shape legend: ``P`` corners of all polygons of an object, ``N`` objects of an image, ``H`` ``W`` its height and width in
pixels.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as run_lengths

Segmentation = NDArray[np.float32] | bytes
"""Polygons as x and y of their corners (P, 2), with a row of NaN between polygons; or compressed RLE of COCO."""

_FEWEST_NUMBERS = 6  # three corners


def read_segmentation(segmentation: Any, *, width: int, height: int) -> Segmentation | None:
    """Check a segmentation in COCO's format, without drawing it.

    Args:
        segmentation: polygons as lists ``[x1, y1, x2, y2, ...]``, or RLE as a mapping of ``counts`` and ``size``.
        width: of the image, in pixels.
        height: of the image, in pixels.

    Returns:
        The compact form; None when it is not valid, or is for another image size.
    """
    if isinstance(segmentation, dict):
        return _run_lengths(segmentation, width, height)
    if not isinstance(segmentation, list) or not segmentation or not all(map(_is_polygon, segmentation)):
        return None
    gap = [math.nan, math.nan]
    numbers = [number for polygon in segmentation for number in (*polygon, *gap)][: -len(gap)]
    return np.array(numbers, dtype=np.float32).reshape(-1, 2)


def draw_masks(segmentations: Sequence[Segmentation], *, width: int, height: int) -> NDArray[np.uint8]:
    """Draw masks as pycocotools does, uint8 (N, H, W), 1 inside and 0 outside."""
    if not segmentations:
        return np.zeros((0, height, width), dtype=np.uint8)
    counts = [each if isinstance(each, bytes) else _draw(each, width, height) for each in segmentations]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pycocotools uses deprecated parts of NumPy
        decoded_HWN = run_lengths.decode([{"size": [height, width], "counts": each} for each in counts])
    return np.ascontiguousarray(decoded_HWN.transpose(2, 0, 1))


def _draw(corners_P2: NDArray[np.float32], width: int, height: int) -> bytes:
    # Drawing follows every edge, also outside of the image: far corners would only cost time.
    limits = np.array([width, height], dtype=np.float64)
    within_P2 = np.clip(corners_P2.astype(np.float64), -limits, 2 * limits)
    gaps = np.flatnonzero(np.isnan(within_P2[:, 0]))
    polygons = [part[~np.isnan(part[:, 0])].flatten().tolist() for part in np.split(within_P2, gaps)]
    joined: bytes = run_lengths.merge(run_lengths.frPyObjects(polygons, height, width))["counts"]
    return joined


def _run_lengths(segmentation: dict[Any, Any], width: int, height: int) -> bytes | None:
    counts, size = segmentation.get("counts"), [height, width]
    if isinstance(counts, str):
        counts = _unpack(counts)
    if segmentation.get("size") != size or not isinstance(counts, list):
        return None
    if not all(type(count) is int and count >= 0 for count in counts) or sum(counts) != width * height:
        return None
    packed: bytes = run_lengths.frPyObjects({"size": size, "counts": counts}, height, width)["counts"]
    return packed


def _unpack(text: str) -> list[int] | None:
    """Decode COCO's compressed RLE; return None when it is invalid, which pycocotools does not notice.

    A character holds five bits of a number, the lowest first, and a bit that is set when more follow; the sign is
    extended. From the fourth on, a number is stored as its difference from the second last one.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    return counts if shift == 0 else None


def _is_polygon(points: Any) -> bool:
    return (
        isinstance(points, list)
        and len(points) >= _FEWEST_NUMBERS
        and len(points) % 2 == 0
        and all(type(number) in (int, float) and math.isfinite(number) for number in points)
    )
