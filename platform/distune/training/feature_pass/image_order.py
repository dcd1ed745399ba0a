"""The image order of feature passes: the same in every epoch and every trial.

Shape legend: ``n`` images of the dataset with a box to train on.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distune.data.dataset import DetectionDataset


class ImageOrder:
    """A fixed, class-balanced order of images, in which a smaller feature pass is the start of a larger one.

    Images are ranked over a random permutation: the rank of an image within a class is the number of earlier images of
    that class, and its rank is the lowest over its classes. A feature pass with at most k images per class takes the
    images of a rank below k, by rank and then in the order of the permutation. So each class is on k of them, or on all
    its images if it has fewer. Ignored boxes do not count, and images without other boxes are never taken.

    Args:
        indices_n: the images in order.
        ranks_n: their ranks, ascending.
    """

    def __init__(self, indices_n: NDArray[np.int64], ranks_n: NDArray[np.int64]) -> None:
        self._indices_n = indices_n
        self._ranks_n = ranks_n

    @classmethod
    def of(cls, dataset: DetectionDataset, *, seed: int) -> ImageOrder:
        """Rank the images of a dataset over the permutation of a seed. Reads all annotations once."""
        counts = np.zeros(len(dataset.classes) + 1, dtype=np.int64)
        indices: list[int] = []
        ranks: list[int] = []
        for index in np.random.default_rng(seed).permutation(len(dataset)):
            annotations = dataset.annotations(int(index))
            present = np.unique(annotations.labels_N[~annotations.ignored_N])
            if len(present):
                indices.append(int(index))
                ranks.append(int(counts[present].min()))
                counts[present] += 1
        by_rank_n = np.argsort(np.array(ranks, dtype=np.int64), kind="stable")
        return cls(np.array(indices, dtype=np.int64)[by_rank_n], np.array(ranks, dtype=np.int64)[by_rank_n])

    def images(self, max_images: int) -> list[int]:
        """Return the images of a feature pass with at most ``max_images`` per class."""
        indices: list[int] = self._indices_n[: np.searchsorted(self._ranks_n, max_images)].tolist()
        return indices
