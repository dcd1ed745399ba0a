"""The images of a probe: those with many boxes large enough to become prototypes."""

from __future__ import annotations

import numpy as np

from distune.config.data import ImageSettings
from distune.data.dataset import DetectionDataset

_ENOUGH_BOXES = 8
"""More boxes than this do not raise the score of an image: crowds cost time, and their boxes are small."""


def choose_images(
    dataset: DetectionDataset, num_images: int, *, settings: ImageSettings, min_box_side_px: float
) -> list[int]:
    """Choose the images with the most boxes that are large enough to become prototypes; images without boxes come last.

    Args:
        dataset: the training split.
        num_images: number of images; all if there are fewer.
        settings: of the resizing.
        min_box_side_px: in the resized image; smaller boxes count less.

    Returns:
        Indices in ascending order. They depend on the annotations only.
    """
    scores = [
        _score(dataset, index, settings=settings, min_box_side_px=min_box_side_px) for index in range(len(dataset))
    ]
    best = sorted(range(len(dataset)), key=lambda index: (-scores[index], index))[:num_images]
    return sorted(best)


def max_boxes_per_class(
    dataset: DetectionDataset, indices: list[int], *, settings: ImageSettings, min_box_side_px: float
) -> int:
    """Return the number of large enough boxes that the most frequent class has in these images."""
    labels = [
        dataset.annotations(index).labels_N[_is_large(dataset, index, settings, min_box_side_px)] for index in indices
    ]
    return int(np.bincount(np.concatenate(labels)).max(initial=0)) if labels else 0


def _score(dataset: DetectionDataset, index: int, *, settings: ImageSettings, min_box_side_px: float) -> float:
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
