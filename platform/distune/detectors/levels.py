"""The levels of a neck, keyed by stride."""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import Tensor

from distune.detectors.taps import Detector, Frame, NeckMaps


def by_stride(maps: Iterable[Tensor], frame: Frame) -> NeckMaps:
    """Key maps by their nominal stride.

    The stride is the ratio of padded image to map, rounded to a power of two, because the sides of coarse maps are
    rounded up. Each level is at least twice as coarse as the one before.

    Args:
        maps: each (B, D, H, W), fine to coarse.
        frame: of the batch.

    Returns:
        Stride in pixels to map, fine to coarse.
    """
    levels: NeckMaps = {}
    stride = 0
    for each in maps:
        ratio = max(frame.padded_size[0] / each.shape[-2], frame.padded_size[1] / each.shape[-1])
        stride = max(2 ** round(math.log2(ratio)), 2 * stride)
        levels[stride] = each
    return levels


def probe_levels(detector: Detector, probe: Tensor) -> dict[int, int]:
    """Return stride to channels of a neck, fine to coarse, measured on an image (3, H, W) of any device."""
    device = next(detector.model.parameters()).device
    neck = detector.neck_only([probe.to(device)]).neck
    return {stride: int(each.shape[1]) for stride, each in sorted(neck.items())}


def common_strides(student_levels: dict[int, int], teacher_levels: dict[int, int]) -> tuple[int, ...]:
    """Return the strides that both necks have, fine to coarse."""
    return tuple(sorted(student_levels.keys() & teacher_levels.keys()))
