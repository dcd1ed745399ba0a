"""Which images a feature pass for prototypes takes, and in which order: the same in every epoch and every trial.

Shape legend: ``n`` images of the data set with a box to train on.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distune.data.dataset import DetectionDataset


class ImageOrder:
    """The images of a data set in the order in which feature passes take them: a smaller feature pass is the start of
    a larger one.

    In a random permutation, let an image's rank be its place among the images of one of its classes, the lowest over
    its classes. A feature pass of at most k images per class takes those of a rank below k, by rank and then by
    permutation: each class that is on k images or more is on at least k of them. Boxes that nothing is trained on do
    not count, and
    images without any other are never taken.
    """

    def __init__(self, indices_n: NDArray[np.int64], ranks_n: NDArray[np.int64]) -> None:
        self._indices_n = indices_n
        self._ranks_n = ranks_n

    @classmethod
    def of(cls, dataset: DetectionDataset, *, seed: int) -> ImageOrder:
        """The order that a seed gives. Reads all annotations once."""
        seen = np.zeros(len(dataset.classes) + 1, dtype=np.int64)
        indices: list[int] = []
        ranks: list[int] = []
        for index in np.random.default_rng(seed).permutation(len(dataset)):
            annotations = dataset.annotations(int(index))
            present = np.unique(annotations.labels_N[~annotations.ignored_N])
            if len(present):
                indices.append(int(index))
                ranks.append(int(seen[present].min()))
                seen[present] += 1
        by_rank_n = np.argsort(np.array(ranks, dtype=np.int64), kind="stable")
        return cls(np.array(indices, dtype=np.int64)[by_rank_n], np.array(ranks, dtype=np.int64)[by_rank_n])

    def images(self, max_images: int) -> list[int]:
        """The images of a feature pass of at most ``max_images`` per class, as far as classes share images."""
        taken: list[int] = self._indices_n[: np.searchsorted(self._ranks_n, max_images)].tolist()
        return taken
