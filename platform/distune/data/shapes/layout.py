"""Random layouts of generated shapes: the class, size, position and tags of each object."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from distune.config.data import ShapesData
from distune.data.generated.placement import UNIT_PX, draw_tags, find_place
from distune.data.shapes.outlines import SHAPE_NAMES, Outline, draw_full_mask, make_outline

_SMALL_SIDE_PX, _SIDE_PX = (10.0, 14.0), (18.0, 40.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShapeObject:
    """An object to paint."""

    label: int
    outline: Outline
    tags: frozenset[str]

    @property
    def box_4(self) -> NDArray[np.float64]:
        """The tightest xyxy box in pixels, around covered parts as well."""
        return self.outline.box_4

    def full_mask(self, size_px: int) -> NDArray[np.uint8]:
        """Draw the mask in a square image, covered parts included, (size_px, size_px): 1 inside."""
        return draw_full_mask(self.outline, size_px=size_px)


def place_objects(generator: np.random.Generator, settings: ShapesData) -> list[ShapeObject]:
    """Draw class, size, position and tags of 1 to ``max_objects`` objects that hardly overlap.

    Objects without room are left out, so a crowded image may have fewer.
    """
    size_px = settings.image_size_px
    objects: list[ShapeObject] = []
    for _ in range(int(generator.integers(1, settings.max_objects + 1))):
        tags = draw_tags(
            generator,
            blurred_share=settings.blurred_share,
            occluded_share=settings.occluded_share,
            small_share=settings.small_share,
        )
        low, high = _SMALL_SIDE_PX if "small" in tags else _SIDE_PX
        label = int(generator.integers(1, settings.num_classes + 1))
        outline = make_outline(
            SHAPE_NAMES[label - 1],
            side_px=float(generator.uniform(low, high)) * size_px / UNIT_PX,
            angle=float(generator.uniform(0.0, 2 * np.pi)),
            stretch=float(generator.uniform(0.75, 1.0)),
        )
        corner_2 = find_place(generator, outline.box_4[2:], [item.box_4 for item in objects], size_px=size_px)
        if corner_2 is not None:
            objects.append(ShapeObject(label=label, outline=outline.moved_by(corner_2), tags=tags))
    return objects
