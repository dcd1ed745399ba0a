"""Random layouts of generated shapes: the class, size, position and tags of each object."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from distune.config.data import ShapesData
from distune.data.shapes.outlines import SHAPE_NAMES, Outline, make_outline

UNIT_PX = 96
"""Sizes are given for images with this side, and scale with it."""

_SMALL_SIDE_PX, _SIDE_PX = (10.0, 14.0), (18.0, 40.0)
_MAX_COVERED = 0.1
_PLACEMENT_TRIES = 30


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShapeObject:
    """An object to paint."""

    label: int
    outline: Outline
    tags: frozenset[str]


def place_objects(generator: np.random.Generator, settings: ShapesData) -> list[ShapeObject]:
    """Draw class, size, position and tags of 1 to ``max_objects`` objects that hardly overlap.

    Objects without room are left out, so a crowded image may have fewer.
    """
    size_px = settings.image_size_px
    objects: list[ShapeObject] = []
    for _ in range(int(generator.integers(1, settings.max_objects + 1))):
        tags = _draw_tags(generator, settings)
        low, high = _SMALL_SIDE_PX if "small" in tags else _SIDE_PX
        label = int(generator.integers(1, settings.num_classes + 1))
        outline = make_outline(
            SHAPE_NAMES[label - 1],
            side_px=float(generator.uniform(low, high)) * size_px / UNIT_PX,
            angle=float(generator.uniform(0.0, 2 * np.pi)),
            stretch=float(generator.uniform(0.75, 1.0)),
        )
        placed = _place(generator, outline, [item.outline.box_4 for item in objects], size_px)
        if placed is not None:
            objects.append(ShapeObject(label=label, outline=placed, tags=tags))
    return objects


def _draw_tags(generator: np.random.Generator, settings: ShapesData) -> frozenset[str]:
    fractions = {
        "blurred": settings.blurred_share,
        "occluded": settings.occluded_share,
        "small": settings.small_share,
    }
    return frozenset(tag for tag, fraction in fractions.items() if generator.random() < fraction)


def _place(
    generator: np.random.Generator, outline: Outline, taken: list[NDArray[np.float64]], size_px: int
) -> Outline | None:
    """Move an outline to a random free place in the image; return None when there is no room."""
    extent_2 = outline.box_4[2:]
    for _ in range(_PLACEMENT_TRIES):
        candidate = outline.moved_by(generator.uniform(0.0, size_px - extent_2))
        if all(_covered(candidate.box_4, other_4) <= _MAX_COVERED for other_4 in taken):
            return candidate
    return None


def _covered(box_4: NDArray[np.float64], other_4: NDArray[np.float64]) -> float:
    """Return the overlap of two boxes as a fraction of the smaller one."""
    ax1, ay1, ax2, ay2 = box_4.tolist()
    bx1, by1, bx2, by2 = other_4.tolist()
    overlap = max(0.0, min(ax2, bx2) - max(ax1, bx1)) * max(0.0, min(ay2, by2) - max(ay1, by1))
    return float(overlap / min((ax2 - ax1) * (ay2 - ay1), (bx2 - bx1) * (by2 - by1)))
