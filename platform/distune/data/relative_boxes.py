"""Brings boxes that are fractions of their images to pixels, once the sizes of the images are known."""

from __future__ import annotations

import dataclasses

import numpy as np

from distune.data.masks import Segmentation
from distune.data.raw_split import RawSplit


def to_pixels(split: RawSplit) -> RawSplit:
    """Return the split with boxes and polygons in pixels.

    Args:
        split: with the sizes of its images, and boxes and polygons as fractions of them.

    Returns:
        Another split. ``given`` of the boxes stays as it is.
    """
    boxes = []
    for box in split.boxes:
        image = split.images[box.row]
        x1, y1, x2, y2 = box.box
        pixels = (x1 * image.width, y1 * image.height, x2 * image.width, y2 * image.height)
        scaled = _scale(box.segmentation, image.width, image.height)
        boxes.append(dataclasses.replace(box, box=pixels, segmentation=scaled))
    return dataclasses.replace(split, boxes=boxes)


def _scale(segmentation: Segmentation | None, width: int, height: int) -> Segmentation | None:
    if segmentation is None or isinstance(segmentation, bytes):
        return segmentation
    return (segmentation * np.array([width, height], dtype=np.float32)).astype(np.float32)
