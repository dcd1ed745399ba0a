"""A data set with wrong labels: boxes that are shifted, have another class, or are missing."""

from __future__ import annotations

import dataclasses

import numpy as np
from torch import Tensor

from distune.data.dataset import Annotations, DetectionDataset

SHIFT = (0.4, 0.8)
"""A shifted box moves by this fraction of its width or height, in a random direction: its IoU falls below about 0.4."""
KINDS = ("shifted", "relabeled", "missing")


class NoisyLabels:
    """Another data set with a fraction of its boxes wrong: a third of these shifted, relabeled and missing each.

    Shifted and relabeled boxes have that word as a tag, so that the filter's area under the ROC curve is measured.
    With a single class, no box is relabeled. What is wrong depends on ``random_seed`` and the index of the image alone.

    Args:
        dataset: with right labels.
        fraction: of the boxes, 0 to 1.
        random_seed: of the noise.
    """

    def __init__(self, dataset: DetectionDataset, *, fraction: float, random_seed: int = 0) -> None:
        self.name = dataset.name
        self.classes = dataset.classes
        self.faults = dataset.faults
        self._dataset = dataset
        self._fraction = fraction
        self._random_seed = random_seed

    def __len__(self) -> int:
        return len(self._dataset)

    def image(self, index: int) -> Tensor:
        """Return the pixels of an image."""
        return self._dataset.image(index)

    def annotations(self, index: int) -> Annotations:
        """Return the boxes of an image, some of them wrong."""
        image = self._dataset.annotations(index)
        generator = np.random.default_rng([self._random_seed, index])
        wrong_N = generator.random(len(image)) < self._fraction
        kinds = KINDS if len(self.classes) > 1 else ("shifted", "missing")
        kind_N = np.where(wrong_N, generator.choice(kinds, size=len(image)), "")
        moves_N2 = generator.uniform(*SHIFT, size=(len(image), 2)) * generator.choice((-1, 1), size=(len(image), 2))
        other_N = generator.integers(1, max(2, len(self.classes)), size=len(image))
        boxes_N4 = image.boxes_N4.astype(np.float64)
        sides_N2 = boxes_N4[:, 2:] - boxes_N4[:, :2]
        moved_N4 = boxes_N4 + np.tile(moves_N2 * sides_N2, 2)
        moved_N4 = np.clip(moved_N4, 0, np.tile([image.width, image.height], 2)).astype(np.float32)
        has_area_N = ((moved_N4[:, 2:] - moved_N4[:, :2]) >= 1).all(axis=1)
        is_shifted_N = (kind_N == "shifted") & has_area_N  # a box that would leave the image stays where it is
        is_relabeled_N = kind_N == "relabeled"
        labels_N = np.where(is_relabeled_N, (image.labels_N - 1 + other_N) % len(self.classes) + 1, image.labels_N)
        tags_N = [
            tags | ({"shifted"} if shifted else set()) | ({"relabeled"} if relabeled else set())
            for tags, shifted, relabeled in zip(image.tags_N, is_shifted_N, is_relabeled_N, strict=True)
        ]
        kept = np.flatnonzero(kind_N != "missing")
        draw = image.draw_masks
        return dataclasses.replace(
            image,
            boxes_N4=np.where(is_shifted_N[:, None], moved_N4, image.boxes_N4)[kept],
            labels_N=labels_N[kept],
            areas_N=image.areas_N[kept],
            given_N4=None,
            crowd_N=image.crowd_N[kept],
            difficult_N=image.difficult_N[kept],
            tags_N=tuple(tags_N[each] for each in kept),
            draw_masks=None if draw is None else lambda chosen_N: draw(kept[chosen_N]),
        )
