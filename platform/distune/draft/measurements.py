"""Measures the training images of a data set, as far as settings follow from them."""

from __future__ import annotations

import dataclasses

import numpy as np

from distune.data.dataset import DetectionDataset
from distune.errors import DataError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurements:
    """Sizes of training images and boxes.

    Attributes:
        num_images: training images.
        num_boxes: boxes in them that count.
        short_side_px: median of the shorter side of the images.
        aspect_ratio: of the longer side to the shorter one, which 95% of the images do not exceed.
        box_sides: square root of a box's area as a fraction of its image's shorter side, at 5%, 50% and 95%.
    """

    num_images: int
    num_boxes: int
    short_side_px: int
    aspect_ratio: float
    box_sides: tuple[float, float, float]


def measure(dataset: DetectionDataset) -> Measurements:
    """Measure the training images.

    Args:
        dataset: the training split.

    Returns:
        The sizes.

    Raises:
        DataError: there are no boxes.
    """
    short_sides, ratios, sides = [], [], [np.empty(0)]
    for image in map(dataset.annotations, range(len(dataset))):
        short, long = sorted((image.width, image.height))
        short_sides.append(short)
        ratios.append(long / short)
        boxes_N4 = image.boxes_N4[~image.ignored_N].astype(np.float64)
        sides.append(np.sqrt((boxes_N4[:, 2:] - boxes_N4[:, :2]).prod(axis=1)) / short)
    every = np.concatenate(sides)
    if not len(every):
        raise DataError(f"split {dataset.name} has no boxes")
    low, middle, high = (float(value) for value in np.quantile(every, [0.05, 0.5, 0.95]))
    return Measurements(
        num_images=len(dataset),
        num_boxes=len(every),
        short_side_px=int(np.median(short_sides)),
        aspect_ratio=float(np.quantile(ratios, 0.95)),
        box_sides=(low, middle, high),
    )
