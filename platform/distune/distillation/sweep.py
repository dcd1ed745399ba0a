"""Features from a sweep: both models look at training images for nothing else than to make prototypes.

Shape legend: ``L`` levels, ``N`` instances, ``D`` student channels, ``E`` teacher channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from distune.detectors.taps import Instances, NeckMaps
from distune.distillation.harvest import is_large_enough
from distune.distillation.pooling import Pooling, pool_both
from distune.distillation.prototypes import InstanceFeatures

SweepSource = Callable[[int], Iterator[tuple[NeckMaps, NeckMaps, Instances]]]
"""From the most images per class that are wanted to batches of (student maps, teacher maps, ground truth)."""


@torch.no_grad()
def sweep_features(
    source: SweepSource,
    *,
    strides: tuple[int, ...],
    pooling: Pooling,
    min_box_side_px: float,
    max_images: int,
    num_classes: int,
) -> InstanceFeatures:
    """Pools the instances of a sweep.

    Args:
        source: gives the batches. It may give more images than asked for: of each class only the boxes of its first
            ``max_images`` images are used.
        strides: the common levels, fine to coarse.
        pooling: how a feature is averaged.
        min_box_side_px: boxes with a side this short or shorter are left out.
        max_images: images of a class.
        num_classes: without background.

    Raises:
        ValueError: the source gave no batch.
    """
    parts: list[InstanceFeatures] = []
    images: list[Tensor] = []
    num_images = 0
    for student, teacher, instances in source(max_images):
        pooled = pool_both(student, teacher, instances, strides=strides, pooling=pooling, with_gradient=False)
        rows_n = is_large_enough(instances.boxes_N4, min_box_side_px=min_box_side_px).nonzero().squeeze(1)
        parts.append(
            InstanceFeatures(
                pooled.student_LND[:, rows_n],
                pooled.teacher_LNE[:, rows_n],
                instances.labels_N[rows_n],
                instances.origin_N2[rows_n],
            )
        )
        images.append(instances.image_of_N[rows_n] + num_images)
        num_images += len(instances.counts)
    if not parts:
        raise ValueError("the sweep for prototypes gave no batch; it must give at least one")
    labels_N = torch.cat([part.labels_N for part in parts])
    rows_K = _first_images(labels_N, torch.cat(images), max_images=max_images, num_classes=num_classes)
    return InstanceFeatures(
        torch.cat([part.student_LND for part in parts], dim=1)[:, rows_K],
        torch.cat([part.teacher_LNE for part in parts], dim=1)[:, rows_K],
        labels_N[rows_K],
        torch.cat([part.origin_N2 for part in parts])[rows_K],
    )


def _first_images(labels_N: Tensor, image_N: Tensor, *, max_images: int, num_classes: int) -> Tensor:
    kept_N = torch.zeros_like(labels_N, dtype=torch.bool)
    for label in range(1, num_classes + 1):
        of_class_N = labels_N == label
        images = torch.unique(image_N[of_class_N])[:max_images]
        kept_N |= of_class_N & torch.isin(image_N, images)
    return kept_N.nonzero().squeeze(1)
