"""Generated images of handwritten digits on photographs, with tagged noise: the data of the quickstart.

Strokes and backgrounds are real; position, size, color, blur and cover are drawn at random and tagged. A digit differs
from others in its form alone. Each split has digits and parts of the photographs of its own.

Shape legend: ``S`` side of an image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from distune.config.data import DigitsData
from distune.data.digits.layout import DigitObject, place_digits
from distune.data.digits.painting import paint_image
from distune.data.digits.sources import DIGIT_NAMES, photo_regions
from distune.data.generated.generated_dataset import GeneratedDataset, SplitName

GENERATOR_VERSION = 1
"""Part of the fingerprint: raise it with every change that changes an image."""


class DigitScenes:
    """Images of digits.

    Args:
        settings: of the images.
        split: whose digits and photographs are used.
    """

    def __init__(self, settings: DigitsData, split: SplitName) -> None:
        self.classes = DIGIT_NAMES[: settings.num_classes]
        self.size_px = settings.image_size_px
        self._settings = settings
        self._split: SplitName = split

    def place(self, generator: np.random.Generator) -> list[DigitObject]:
        """Draw the objects of an image, at least one."""
        return place_digits(generator, self._settings, self._split)

    def paint(self, generator: np.random.Generator, objects: Sequence[DigitObject]) -> NDArray[np.uint8]:
        """Paint an image with these objects, (3, S, S)."""
        return paint_image(generator, objects, photo_regions(self._split), size_px=self.size_px)


def make_digits(settings: DigitsData, split: SplitName) -> GeneratedDataset[DigitObject]:
    """Make one split of digits on photographs."""
    counts = {"train": settings.num_train, "search": settings.num_search, "test": settings.num_test}
    return GeneratedDataset(DigitScenes(settings, split), split, num_images=counts[split], seed=settings.seed)
