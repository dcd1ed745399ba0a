"""Notes on the batches that an experiment trains on: groups of aspect ratios, and repeated images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distune.config.data import ImageSettings
from distune.data.dataset import DetectionDataset
from distune.data.epoch_batches import EpochBatches
from distune.data.image_groups import aspect_ratio_groups, class_repeats, image_repeats


def stream_notes(dataset: DetectionDataset, settings: ImageSettings, *, batch_size: int) -> list[str]:
    """Return a line for each setting of the batches that is not the default.

    Args:
        dataset: the training split.
        settings: of the batches.
        batch_size: images per batch.

    Returns:
        The lines, empty for batches of all images once in random order.
    """
    factor, threshold = settings.aspect_ratio_group_factor, settings.repeat_threshold
    notes = []
    if factor is not None:
        notes.append(_group_note(aspect_ratio_groups(dataset, factor=factor), batch_size))
    if threshold is not None:
        notes.append(_repeat_note(dataset, threshold, batch_size))
    return notes


def _group_note(groups_N: NDArray[np.int64], batch_size: int) -> str:
    counts = np.unique_counts(groups_N).counts.tolist()
    if len(counts) == 1:
        return "batches: all training images are of one group of aspect ratios, so grouping changes nothing"
    mixed = len(counts) * (batch_size - 1) // batch_size
    sizes = ", ".join(f"{count}" for count in counts)
    return (
        f"batches: {len(counts)} groups of aspect ratios, of {sizes} training images; at most {mixed} of "
        f"{max(1, len(groups_N) // batch_size)} batches per epoch have images of several groups"
    )


def _repeat_note(dataset: DetectionDataset, threshold: float, batch_size: int) -> str:
    of_class = class_repeats(dataset, threshold=threshold)
    rare = {name: factor for name, factor in zip(dataset.classes, of_class.tolist(), strict=True) if factor > 1}
    if not rare:
        return f"batches: no class is in less than {threshold:g} of the training images, so none is repeated"
    batches = EpochBatches(
        num_images=len(dataset),
        batch_size=batch_size,
        seed=0,
        repeats_N=image_repeats(dataset, threshold=threshold),
    )
    most = max(rare, key=lambda name: rare[name])
    return (
        f"batches: images of {len(rare)} of {len(dataset.classes)} classes are repeated, up to {rare[most]:.1f} times "
        f"({most}); an epoch has {batches.num_presentations} images instead of {len(dataset)}"
    )
