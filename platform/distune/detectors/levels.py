"""Levels of a neck, named by their stride."""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import Tensor

from distune.detectors.taps import Detector, Frame, NeckMaps


def by_stride(maps: Iterable[Tensor], frame: Frame) -> NeckMaps:
    """Names maps, fine to coarse, by their nominal stride.

    The stride is the ratio of the padded image to the map, rounded to a power of two: the last maps of a small image
    are rounded up when they are made, so their ratio is a little less. Each level is at least twice as coarse as the
    one before.

    Args:
        maps: each (B, D, H, W), fine to coarse.
        frame: what the model saw.
    """
    levels: NeckMaps = {}
    stride = 0
    for each in maps:
        ratio = max(frame.padded_size[0] / each.shape[-2], frame.padded_size[1] / each.shape[-1])
        stride = max(2 ** round(math.log2(ratio)), 2 * stride)
        levels[stride] = each
    return levels


def probe_levels(detector: Detector, probe: Tensor) -> dict[int, int]:
    """The levels of a neck, stride to channels, fine to coarse, found by looking at the maps of an image (3, H, W)."""
    neck = detector.neck_only([probe]).neck
    return {stride: int(each.shape[1]) for stride, each in sorted(neck.items())}


def common_strides(student_levels: dict[int, int], teacher_levels: dict[int, int]) -> tuple[int, ...]:
    """The strides that both necks have, fine to coarse."""
    return tuple(sorted(student_levels.keys() & teacher_levels.keys()))
