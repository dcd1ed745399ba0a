"""Generated images of shapes, with tagged noise: data for trying distune and for measuring filters.

Only the shape of an object gives its class: colors are random and close to the background, which is textured and has
strokes. Some objects are blurred, half covered or small, and tagged so.

Shape legend: ``S`` side of an image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from distune.config.data import ShapesData
from distune.data.generated.generated_dataset import GeneratedDataset, SplitName
from distune.data.shapes.layout import ShapeObject, place_objects
from distune.data.shapes.outlines import SHAPE_NAMES
from distune.data.shapes.painting import paint_image

GENERATOR_VERSION = 1
"""Part of the fingerprint: raise it with every change that changes an image."""


class ShapeScenes:
    """Images of shapes.

    Args:
        settings: of the images.
    """

    def __init__(self, settings: ShapesData) -> None:
        self.classes = SHAPE_NAMES[: settings.num_classes]
        self.size_px = settings.image_size_px
        self._settings = settings

    def place(self, generator: np.random.Generator) -> list[ShapeObject]:
        """Draw the objects of an image, at least one."""
        return place_objects(generator, self._settings)

    def paint(self, generator: np.random.Generator, objects: Sequence[ShapeObject]) -> NDArray[np.uint8]:
        """Paint an image with these objects, (3, S, S)."""
        return paint_image(generator, objects, size_px=self.size_px, clutter=self._settings.clutter)


def make_shapes(settings: ShapesData, split: SplitName) -> GeneratedDataset[ShapeObject]:
    """Make one split of generated shapes."""
    counts = {"train": settings.num_train, "search": settings.num_search, "test": settings.num_test}
    return GeneratedDataset(ShapeScenes(settings), split, num_images=counts[split], seed=settings.seed)
