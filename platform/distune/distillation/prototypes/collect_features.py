"""Features from a feature pass: a forward pass of both models over training images, only to make prototypes.

Shape legend: ``L`` levels, ``N`` instances, ``D`` student channels, ``E`` teacher channels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from distune.detectors.taps import Instances, View
from distune.distillation.maps.box_masks import counted_levels
from distune.distillation.maps.pooling import Pooling, pool_view
from distune.distillation.prototypes.feature_queue import is_large_enough
from distune.distillation.prototypes.prototypes import InstanceFeatures

FeaturePass = Callable[[int], Iterator[tuple[View, View | Tensor, Instances]]]
"""From the maximum number of images per class to batches of (student maps, teacher maps, ground truth). A batch may
hold the teacher's features, (L, N, E), instead of its maps when they are cached from an earlier feature pass."""


@dataclasses.dataclass(frozen=True)
class InstancePooling:
    """Pools the features of instances on the common levels.

    Attributes:
        strides: the common levels, fine to coarse.
        kind: ``roi_align`` or ``crop``; see ``pool_instances``.
    """

    strides: tuple[int, ...]
    kind: Pooling

    @torch.no_grad()
    def __call__(self, view: View, instances: Instances) -> Tensor:
        """Return the features of every instance on every level of one model, (L, N, channels), float32."""
        return pool_view(view, instances, strides=self.strides, pooling=self.kind)


@torch.no_grad()
def collect_features(
    source: FeaturePass,
    *,
    pool: InstancePooling,
    min_box_side_px: float,
    max_images: int,
    num_classes: int,
    min_box_cells: float = 0.0,
) -> InstanceFeatures:
    """Pool the instances of a feature pass.

    Args:
        source: returns the batches. It may return more images than asked for: of each class only the boxes of its
            first ``max_images`` images are used.
        pool: pools the maps; cached features of the teacher were pooled alike.
        min_box_side_px: boxes with a side this short or shorter are left out, in the student's images.
        max_images: the maximum number of images of a class.
        num_classes: without background.
        min_box_cells: see ``counted_levels``; in the student's maps.

    Returns:
        The features of the instances, in the order of the source.

    Raises:
        ValueError: the source returned no batch.
    """
    parts: list[InstanceFeatures] = []
    images: list[Tensor] = []
    num_images = 0
    for student, teacher, instances in source(max_images):
        student_LND = pool(student, instances)
        teacher_LNE = teacher if isinstance(teacher, Tensor) else pool(teacher, instances)
        boxes_N4 = instances.seen_in(student.frame).boxes_N4
        counted_LN = counted_levels(boxes_N4, pool.strides, min_cells=min_box_cells)
        rows_n = is_large_enough(boxes_N4, min_box_side_px=min_box_side_px).nonzero().squeeze(1)
        parts.append(
            InstanceFeatures(
                student_LND[:, rows_n],
                teacher_LNE[:, rows_n],
                instances.labels_N[rows_n],
                instances.origin_N2[rows_n],
                counted_LN[:, rows_n],
            )
        )
        images.append(instances.image_of_N[rows_n] + num_images)
        num_images += len(instances.counts)
    if not parts:
        raise ValueError("the feature pass for prototypes returned no batch; it must return at least one")
    labels_N = torch.cat([part.labels_N for part in parts])
    rows_K = _first_images(labels_N, torch.cat(images), max_images=max_images, num_classes=num_classes)
    return InstanceFeatures(
        torch.cat([part.student_LND for part in parts], dim=1)[:, rows_K],
        torch.cat([part.teacher_LNE for part in parts], dim=1)[:, rows_K],
        labels_N[rows_K],
        torch.cat([part.origin_N2 for part in parts])[rows_K],
        torch.cat([part.counts_LN for part in parts], dim=1)[:, rows_K],
    )


def _first_images(labels_N: Tensor, image_N: Tensor, *, max_images: int, num_classes: int) -> Tensor:
    kept_N = torch.zeros_like(labels_N, dtype=torch.bool)
    for label in range(1, num_classes + 1):
        of_class_N = labels_N == label
        images = torch.unique(image_N[of_class_N])[:max_images]
        kept_N |= of_class_N & torch.isin(image_N, images)
    return kept_N.nonzero().squeeze(1)
