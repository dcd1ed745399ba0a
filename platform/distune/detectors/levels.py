"""Levels of a neck, named by their stride."""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import Tensor

from distune.detectors.taps import Detector, NeckMaps


def by_stride(maps: Iterable[Tensor], image_size: tuple[int, int]) -> NeckMaps:
    """Names maps, fine to coarse, by their nominal stride.

    The stride is the ratio of the padded image to the map, rounded to a power of two: the last maps of a small image
    are rounded up when they are made, so their ratio is a little less. Each level is at least twice as coarse as the
    one before.

    Args:
        maps: each (B, D, H, W), fine to coarse.
        image_size: height and width of the padded batch.
    """
    levels: NeckMaps = {}
    stride = 0
    for each in maps:
        ratio = max(image_size[0] / each.shape[-2], image_size[1] / each.shape[-1])
        stride = max(2 ** round(math.log2(ratio)), 2 * stride)
        levels[stride] = each
    return levels


def common_strides(student: Detector, teacher: Detector, probe: Tensor) -> tuple[int, ...]:
    """The strides that both necks have, fine to coarse, found by looking at the maps of a probe image (3, H, W)."""
    teacher_strides = teacher.neck_only([probe]).keys()
    return tuple(sorted(student.neck_only([probe]).keys() & teacher_strides))
