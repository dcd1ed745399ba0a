"""Groups of images by aspect ratio, and how often the images of rare classes are repeated.

Shape legend: ``N`` images of the data set, ``C`` classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from distune.data.dataset import DetectionDataset


def aspect_ratio_groups(dataset: DetectionDataset, *, factor: int) -> NDArray[np.int64]:
    """Return the group of each image, int64 (N,). See ``groups_of_ratios``."""
    sizes = [(image.width, image.height) for image in map(dataset.annotations, range(len(dataset)))]
    return groups_of_ratios(np.array([width / height for width, height in sizes]), factor=factor)


def groups_of_ratios(ratios_N: NDArray[np.float64], *, factor: int) -> NDArray[np.int64]:
    """Return the group of each image by its aspect ratio, with torchvision's bounds.

    Args:
        ratios_N: width over height, above 0.
        factor: 0 divides at the ratio 1; k divides at the 2 k + 1 powers of 2 with equally spaced exponents from -1
            to 1.

    Returns:
        Numbers from 0 for upright images to 2 k + 1, int64 (N,).
    """
    bounds = 2.0 ** np.linspace(-1, 1, 2 * factor + 1) if factor > 0 else np.ones(1)
    return np.searchsorted(bounds, ratios_N, side="right").astype(np.int64)


def class_repeats(dataset: DetectionDataset, *, threshold: float) -> NDArray[np.float64]:
    """Return the repeat factor of each class: ``max(1, sqrt(threshold / fraction of the images that have it))``.

    Args:
        dataset: with the images. Crowd and difficult boxes do not count.
        threshold: fraction of the images from which on a class is not repeated, above 0.

    Returns:
        Factors in the order of the classes, float64 (C,); 1 for classes without boxes.
    """
    images_C = np.zeros(len(dataset.classes))
    for labels in _labels(dataset):
        images_C[labels] += 1
    fractions_C = np.where(images_C > 0, images_C, np.inf) / max(1, len(dataset))
    return np.maximum(1.0, np.sqrt(threshold / fractions_C))


def image_repeats(dataset: DetectionDataset, *, threshold: float) -> NDArray[np.float64]:
    """Return the repeat factor of each image: the largest one of its classes, 1 without boxes, float64 (N,).

    Repeat factor sampling (Gupta, Dollar and Girshick, LVIS, CVPR 2019, arXiv 1908.03195, section 5.1).
    Arguments are those of ``class_repeats``.
    """
    factors_C = class_repeats(dataset, threshold=threshold)
    return np.array([factors_C[labels].max(initial=1.0) for labels in _labels(dataset)])


def _labels(dataset: DetectionDataset) -> Sequence[NDArray[np.int64]]:
    """Return the classes of each image, from 0, each once."""
    images = map(dataset.annotations, range(len(dataset)))
    return [np.unique(image.labels_N[~image.ignored_N]) - 1 for image in images]
