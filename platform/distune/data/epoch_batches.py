"""The images of each batch of an epoch. They depend on the seed and the number of the epoch only.

An epoch presents every image once, in random order, and those of rare classes more often. The order is cut into batches
of equal size; the remainder, less than a batch, is dropped, another one in each epoch. With groups of similar aspect
ratios, the same presentations are divided otherwise: those that fill no batch of their group share batches with those
of the next groups. So the number of batches never changes, and no image is preferred.

Shape legend: ``N`` images of the data set, ``P`` presentations of an epoch.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

_ORDER, _REPEATS, _GROUPS = 1, 4, 5  # independent kinds of random numbers; the stream has others

_ROUNDING = 1e-6  # a sum that is whole up to rounding is whole

Presentation = tuple[int, int]
"""The index of an image, and the number of its earlier presentations in the epoch."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class EpochBatches:
    """Divides images into batches, epoch by epoch.

    Attributes:
        num_images: of the data set, at least 1.
        batch_size: images per batch, at least 1.
        seed: at least 0.
        repeats_N: mean number of presentations of each image in an epoch, float64, at least 1; None is 1 for all.
        groups_N: group of each image, int64, adjacent numbers for similar aspect ratios; None is one group.
    """

    num_images: int
    batch_size: int
    seed: int
    repeats_N: NDArray[np.float64] | None = None
    groups_N: NDArray[np.int64] | None = None

    @property
    def num_presentations(self) -> int:
        """Number of images that an epoch presents, repeats and the dropped remainder included."""
        if self.repeats_N is None:
            return self.num_images
        return int(self.repeats_N.sum() + _ROUNDING)

    def __len__(self) -> int:
        """Return the number of batches of an epoch. An incomplete last batch is dropped, unless it is the only one."""
        return max(1, self.num_presentations // self.batch_size)

    def of_epoch(self, epoch: int) -> list[list[Presentation]]:
        """Return the batches of an epoch."""
        order = epoch_order(self.num_images, seed=self.seed, epoch=epoch)
        shown = [(index, 0) for index in order]
        if self.repeats_N is not None:
            generator = np.random.default_rng([_REPEATS, self.seed, epoch])
            shown = _repeated(order, self.repeats_N, self.num_presentations, generator)
        shown = shown[: len(self) * self.batch_size]
        if self.groups_N is not None:
            return _grouped(shown, self.groups_N, self.batch_size, np.random.default_rng([_GROUPS, self.seed, epoch]))
        return [shown[start : start + self.batch_size] for start in range(0, len(shown), self.batch_size)]


def epoch_order(num_images: int, *, seed: int, epoch: int) -> list[int]:
    """Return the order of all images in an epoch."""
    permutation: list[int] = np.random.default_rng([_ORDER, seed, epoch]).permutation(num_images).tolist()
    return permutation


def _repeated(
    order: list[int], repeats_N: NDArray[np.float64], num_presentations: int, generator: np.random.Generator
) -> list[Presentation]:
    """Return the presentations of an epoch in random order, always the same number.

    The fraction of a repeat is the chance of one more. Points at a distance of 1 on the summed fractions, in the order
    of the epoch, choose these images, so their number does not vary as with independent draws.
    """
    ordered_N = repeats_N[order]
    counts_N = np.floor(ordered_N).astype(np.int64)
    ends_N = np.cumsum(ordered_N - counts_N)
    points = np.arange(num_presentations - counts_N.sum()) + generator.random()
    chosen = np.searchsorted(ends_N, points, side="right").clip(max=len(order) - 1)
    np.add.at(counts_N, chosen, 1)
    counted = zip(order, counts_N.tolist(), strict=True)
    shown = [(index, number) for index, count in counted for number in range(count)]
    return [shown[position] for position in generator.permutation(len(shown))]


def _grouped(
    shown: list[Presentation], groups_N: NDArray[np.int64], batch_size: int, generator: np.random.Generator
) -> list[list[Presentation]]:
    """Divide presentations into batches of one group each, and the rest into batches of neighboring groups."""
    waiting: dict[int, list[Presentation]] = {}
    batches: list[list[Presentation]] = []
    for each in shown:
        group = waiting.setdefault(int(groups_N[each[0]]), [])
        group.append(each)
        if len(group) == batch_size:
            batches.append(group.copy())
            group.clear()
    rest = [each for _, group in sorted(waiting.items()) for each in group]
    batches += [rest[start : start + batch_size] for start in range(0, len(rest), batch_size)]
    return [batches[position] for position in generator.permutation(len(batches))]
