"""Random layouts of digits: the class, the handwritten image, the size, position and tags of each object.

Shape legend: ``H`` ``W`` a drawn digit in pixels, ``S`` side of the image.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from distune.config.data import DigitsData
from distune.data.digits.sources import digit_images
from distune.data.generated.generated_dataset import SplitName
from distune.data.generated.placement import draw_tags, find_place

_SMALL_SIDES, _SIDES = (0.14, 0.18), (0.25, 0.55)  # fractions of the side of the image
_FINE = 8  # pixels of the enlarged digit per pixel of the data set
_INK = (0.3, 0.6)  # the stroke's edge: without ink up to the first value, full ink from the second


@dataclasses.dataclass(frozen=True, kw_only=True)
class DigitObject:
    """An object to paint.

    Attributes:
        label: its class, 1 to C.
        mask_HW: covered fraction of each pixel, float32; its first and last rows and columns hold ink.
        corner_2: x and y of its upper left corner in whole pixels.
        tags: such as ``blurred``.
    """

    label: int
    mask_HW: NDArray[np.float32]
    corner_2: NDArray[np.int64]
    tags: frozenset[str]

    @property
    def box_4(self) -> NDArray[np.float64]:
        """The tightest xyxy box in pixels, around covered parts as well."""
        return np.concatenate([self.corner_2, self.corner_2 + self.mask_HW.shape[::-1]]).astype(np.float64)

    def full_mask(self, size_px: int) -> NDArray[np.uint8]:
        """Draw the mask in a square image, covered parts included, (S, S): 1 where at least half a pixel is ink."""
        mask_SS = np.zeros((size_px, size_px), dtype=np.uint8)
        x1, y1, x2, y2 = self.box_4.astype(int).tolist()
        mask_SS[y1:y2, x1:x2] = self.mask_HW >= 0.5
        return mask_SS


def place_digits(generator: np.random.Generator, settings: DigitsData, split: SplitName) -> list[DigitObject]:
    """Draw class, image, size, position and tags of 1 to ``max_objects`` digits that hardly overlap.

    Digits without room are left out, so a crowded image may have fewer.
    """
    size_px = settings.image_size_px
    objects: list[DigitObject] = []
    for _ in range(int(generator.integers(1, settings.max_objects + 1))):
        tags = draw_tags(
            generator,
            blurred_share=settings.blurred_share,
            occluded_share=settings.occluded_share,
            small_share=settings.small_share,
        )
        low, high = _SMALL_SIDES if "small" in tags else _SIDES
        label = int(generator.integers(1, settings.num_classes + 1))
        images_n88 = digit_images(label - 1, split)
        mask_HW = draw_digit(
            images_n88[generator.integers(len(images_n88))],
            side_px=float(generator.uniform(low, high)) * size_px,
        )
        extent_2 = np.array(mask_HW.shape[::-1], dtype=np.float64)
        corner_2 = find_place(generator, extent_2, [item.box_4 for item in objects], size_px=size_px)
        if corner_2 is not None:
            whole_2 = np.floor(corner_2).astype(np.int64)
            objects.append(DigitObject(label=label, mask_HW=mask_HW, corner_2=whole_2, tags=tags))
    return objects


def draw_digit(image_88: NDArray[np.float32], *, side_px: float) -> NDArray[np.float32]:
    """Enlarge a digit of the data set, with smooth edges and without margins.

    Args:
        image_88: ink from 0 to 1.
        side_px: the longer side of the result, rounded to whole pixels.

    Returns:
        The covered fraction of each pixel, (H, W).
    """
    padded = Image.fromarray(np.pad(image_88, 1))
    fine = np.asarray(padded.resize((10 * _FINE, 10 * _FINE), Image.Resampling.BICUBIC))
    ink = ((fine - _INK[0]) / (_INK[1] - _INK[0])).clip(0.0, 1.0)
    rows, columns = np.flatnonzero((ink >= 0.5).any(axis=1)), np.flatnonzero((ink >= 0.5).any(axis=0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = side_px / max(ink.shape)
    height, width = (max(1, round(side * scale)) for side in ink.shape)
    return np.asarray(Image.fromarray(ink).resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32)
