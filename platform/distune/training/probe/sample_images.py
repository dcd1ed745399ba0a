"""Chooses the few images of a probe: those on which prototypes, filter and terms have something to work on."""

from __future__ import annotations

import numpy as np

from distune.config.data import ImageSettings
from distune.data.dataset import DetectionDataset

_ENOUGH_BOXES = 8
"""More boxes than this make an image no better: crowds cost time and are small."""


def choose_images(
    dataset: DetectionDataset, num_images: int, *, settings: ImageSettings, min_box_side_px: float
) -> list[int]:
    """The images with most boxes that are large enough to become prototypes; images without any box come last.

    Args:
        dataset: the training split.
        num_images: how many, as far as there are so many.
        settings: how images are resized.
        min_box_side_px: of the resized image; shorter boxes count for little.

    Returns:
        Indices in ascending order. They follow from the annotations alone.
    """
    worth = [
        _worth(dataset, index, settings=settings, min_box_side_px=min_box_side_px) for index in range(len(dataset))
    ]
    best = sorted(range(len(dataset)), key=lambda index: (-worth[index], index))[:num_images]
    return sorted(best)


def most_of_a_class(
    dataset: DetectionDataset, indices: list[int], *, settings: ImageSettings, min_box_side_px: float
) -> int:
    """How many boxes that are large enough the most frequent class has in these images."""
    labels = [
        dataset.annotations(index).labels_N[_is_large(dataset, index, settings, min_box_side_px)] for index in indices
    ]
    return int(np.bincount(np.concatenate(labels)).max(initial=0)) if labels else 0


def _worth(dataset: DetectionDataset, index: int, *, settings: ImageSettings, min_box_side_px: float) -> float:
    num_boxes = int((~dataset.annotations(index).ignored_N).sum())
    num_large = int(_is_large(dataset, index, settings, min_box_side_px).sum())
    return min(num_large, _ENOUGH_BOXES) + min(num_boxes, _ENOUGH_BOXES) / (2 * _ENOUGH_BOXES)


def _is_large(
    dataset: DetectionDataset, index: int, settings: ImageSettings, min_box_side_px: float
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    image = dataset.annotations(index)
    short, long = sorted((image.width, image.height))
    scale = min(settings.min_size_px / short, settings.max_size_px / long)
    sides_N = (image.boxes_N4[:, 2:] - image.boxes_N4[:, :2]).min(axis=1, initial=np.inf) * scale
    large: np.ndarray[tuple[int], np.dtype[np.bool_]] = (sides_N > min_box_side_px) & ~image.ignored_N
    return large
