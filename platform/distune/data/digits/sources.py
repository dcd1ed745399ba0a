"""Handwritten digits and photographs that scikit-learn ships, divided between the splits.

The digits are the test part of the UCI data set "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak, 1998;
CC BY 4.0), 1,797 images of 8 x 8 pixels. The photographs are scikit-learn's ``china.jpg`` and ``flower.jpg``, 427 x 640
pixels. No split has a digit or a part of a photograph of another split.

Shape legend: ``n`` images of a digit, ``H`` ``W`` a region of a photograph.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits, load_sample_images

from distune.data.generated.generated_dataset import SplitName

DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

_PARTS: dict[SplitName, tuple[float, float]] = {"train": (0.0, 0.5), "search": (0.5, 0.75), "test": (0.75, 1.0)}
"""From where to where a split reaches in the images of a digit, and in the columns of a photograph."""


@functools.cache
def digit_images(digit: int, split: SplitName) -> NDArray[np.float32]:
    """Return the images of a digit, ink from 0 to 1, float32 (n, 8, 8).

    They keep the order of the data set, in which images of one hand stand together, so that most hands are in one split
    only.
    """
    images, labels = load_digits(return_X_y=True)
    images_n88 = images[labels == digit].reshape(-1, 8, 8)
    return np.asarray(_part(images_n88 / 16.0, split), dtype=np.float32)


@functools.cache
def photo_regions(split: SplitName) -> tuple[NDArray[np.uint8], ...]:
    """Return the part of each photograph that belongs to a split, uint8 (H, W, 3) each."""
    return tuple(
        np.ascontiguousarray(_part(photo_HW3.swapaxes(0, 1), split).swapaxes(0, 1))
        for photo_HW3 in load_sample_images().images
    )


def _part(values: NDArray[np.generic], split: SplitName) -> NDArray[np.generic]:
    start, end = (round(fraction * len(values)) for fraction in _PARTS[split])
    return values[start:end]
