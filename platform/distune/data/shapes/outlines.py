"""The outlines of the generated shapes, and their masks.

Shape legend: ``P`` corners of an outline, ``H`` ``W`` a patch in pixels.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SHAPE_NAMES = ("circle", "square", "triangle", "star", "cross", "ring")

_SUPERSAMPLING = 4
_RING_HOLE = 0.55
_STAR_DEPTH = 0.45
_CROSS_WIDTH = 0.36


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outline:
    """A shape in an image.

    Attributes:
        corners_P2: x and y of its corners, in pixels.
        hole_P2: the corners of its hole; None without a hole.
    """

    corners_P2: NDArray[np.float64]
    hole_P2: NDArray[np.float64] | None

    @functools.cached_property
    def box_4(self) -> NDArray[np.float64]:
        """The tightest xyxy box."""
        return np.concatenate([self.corners_P2.min(axis=0), self.corners_P2.max(axis=0)])

    def moved_by(self, offset_2: NDArray[np.float64]) -> Outline:
        """Return the shape moved by x and y in pixels."""
        hole_P2 = None if self.hole_P2 is None else self.hole_P2 + offset_2
        return Outline(corners_P2=self.corners_P2 + offset_2, hole_P2=hole_P2)


def make_outline(shape: str, *, side_px: float, angle: float, stretch: float) -> Outline:
    """Make the outline of a shape whose box starts at (0, 0).

    Args:
        shape: one of ``SHAPE_NAMES``.
        side_px: the longer side of its box.
        angle: rotation in radians, after stretching.
        stretch: ratio of width to height before the rotation.

    Returns:
        The outline.
    """
    corners_P2 = _unit_corners(shape)
    rotation_22 = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    corners_P2 = (corners_P2 * [stretch, 1.0]) @ rotation_22.T
    low_2, high_2 = corners_P2.min(axis=0), corners_P2.max(axis=0)
    scale = side_px / float((high_2 - low_2).max())
    center_2 = -low_2 * scale
    outer_P2 = corners_P2 * scale + center_2
    hole_P2 = corners_P2 * scale * _RING_HOLE + center_2 if shape == "ring" else None
    return Outline(corners_P2=outer_P2, hole_P2=hole_P2)


def draw_mask(outline: Outline, *, margin_px: int) -> tuple[NDArray[np.float32], int, int]:
    """Draw the mask of an outline, anti-aliased.

    Args:
        outline: of the shape.
        margin_px: empty pixels around it.

    Returns:
        The covered fraction of each pixel, (H, W), and x and y of the upper left corner of this patch in the image.
    """
    box_4 = outline.box_4
    left, top = math.floor(box_4[0]) - margin_px, math.floor(box_4[1]) - margin_px
    width, height = math.ceil(box_4[2]) + margin_px - left, math.ceil(box_4[3]) + margin_px - top
    patch = Image.new("L", (width * _SUPERSAMPLING, height * _SUPERSAMPLING))
    draw = ImageDraw.Draw(patch)
    for corners_P2, value in ((outline.corners_P2, 255), (outline.hole_P2, 0)):
        if corners_P2 is not None:
            # Pillow counts from the centers of pixels and also paints the border: subtract half a fine pixel.
            fine_P2 = (corners_P2 - [left, top]) * _SUPERSAMPLING - 0.5
            draw.polygon([(float(x), float(y)) for x, y in fine_P2], fill=value)
    return np.asarray(patch.reduce(_SUPERSAMPLING), dtype=np.float32) / 255.0, left, top


def draw_full_mask(outline: Outline, *, size_px: int) -> NDArray[np.uint8]:
    """Draw the mask of an outline in a square image, (size_px, size_px): 1 where at least half a pixel is covered."""
    cover_HW, left, top = draw_mask(outline, margin_px=0)
    mask = np.zeros((size_px, size_px), dtype=np.uint8)
    x1, y1 = max(left, 0), max(top, 0)
    inside_HW = cover_HW[y1 - top : size_px - top, x1 - left : size_px - left] >= 0.5
    mask[y1 : y1 + inside_HW.shape[0], x1 : x1 + inside_HW.shape[1]] = inside_HW
    return mask


def _unit_corners(shape: str) -> NDArray[np.float64]:
    if shape in ("circle", "ring"):
        return _on_circle(48, radii=(1.0,))
    if shape == "square":
        return _on_circle(4, radii=(1.0,), start=math.pi / 4)
    if shape == "triangle":
        return _on_circle(3, radii=(1.0,))
    if shape == "star":
        return _on_circle(10, radii=(1.0, _STAR_DEPTH))
    if shape == "cross":
        a = _CROSS_WIDTH
        quarter = [(a, 1.0), (a, a), (1.0, a)]
        corners = [turned for x, y in quarter for turned in ((x, y), (y, -x), (-x, -y), (-y, x))]
        angle_P = [math.atan2(y, x) for x, y in corners]
        return np.array([corners[position] for position in np.argsort(angle_P)])
    raise ValueError(f"shape = {shape!r}; known are {', '.join(SHAPE_NAMES)}")


def _on_circle(num_corners: int, *, radii: tuple[float, ...], start: float = 0.0) -> NDArray[np.float64]:
    angle_P = start + 2 * math.pi * np.arange(num_corners) / num_corners
    radius_P = np.resize(np.array(radii), num_corners)
    return np.stack([radius_P * np.cos(angle_P), radius_P * np.sin(angle_P)], axis=1)
