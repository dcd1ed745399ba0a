"""Pooled features of instances: the mean of a neck map over a box.

Shape legend: ``B`` batch, ``D`` student channels, ``E`` teacher channels, ``H`` ``W`` a map, ``N`` instances, ``L``
levels. Nominal strides (the keys of the neck) set the scale between pixels and cells.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import roi_align

from distune.detectors.taps import Instances, View
from distune.distillation.maps.box_masks import cropped_cells

Pooling = Literal["roi_align", "crop"]

_MIN_NORM = 1e-6


@dataclasses.dataclass(frozen=True)
class PooledFeatures:
    """The features of the same instances in both models, float32.

    Attributes:
        student_LND: one row per instance and common level.
        teacher_LNE: the same instances on the teacher's maps, without gradient.
    """

    student_LND: Tensor
    teacher_LNE: Tensor


def pool_both(
    student: View,
    teacher: View,
    instances: Instances,
    *,
    strides: tuple[int, ...],
    pooling: Pooling,
    with_gradient: bool,
) -> PooledFeatures:
    """Pool every instance on every common level of both models, in the frame of each.

    Levels with fewer channels than the widest are padded with zeros: lengths and inner products stay the same.

    Args:
        student: the student's maps.
        teacher: the teacher's maps.
        instances: the ground truth of the batch.
        strides: the common levels, fine to coarse.
        pooling: how a feature is averaged.
        with_gradient: whether the student's features carry gradient to its maps. The teacher's never do.

    Returns:
        The features of both models.
    """
    with torch.set_grad_enabled(with_gradient and torch.is_grad_enabled()):
        student_LND = pool_view(student, instances, strides=strides, pooling=pooling)
    with torch.no_grad():
        teacher_LNE = pool_view(teacher, instances, strides=strides, pooling=pooling)
    return PooledFeatures(student_LND, teacher_LNE)


def pool_view(view: View, instances: Instances, *, strides: tuple[int, ...], pooling: Pooling) -> Tensor:
    """Pool every instance on every given level of one model, as ``pool_both`` does for two: (L, N, channels)."""
    seen = instances.seen_in(view.frame)
    levels = [pool_instances(view.neck[stride], seen, stride=stride, pooling=pooling) for stride in strides]
    widest = max(each.shape[1] for each in levels)
    return torch.stack([functional.pad(each, (0, widest - each.shape[1])) for each in levels])


def pool_instances(map_BDHW: Tensor, instances: Instances, *, stride: int, pooling: Pooling) -> Tensor:
    """Return the mean feature of each instance on one map.

    ``roi_align`` averages bilinear samples, as many as the box has cells, with half-cell alignment (He et al., "Mask
    R-CNN", ICCV 2017, arXiv 1703.06870). ``crop`` averages whole cells, at least one, as the release of arXiv
    2210.09022 does.

    Args:
        map_BDHW: a neck map, any float type.
        instances: the boxes, in pixels of the padded batch.
        stride: pixels per cell of the map.
        pooling: ``roi_align`` or ``crop``.

    Returns:
        (N, D), float32.
    """
    map_BDHW = map_BDHW.float()
    if pooling == "crop":
        return _crop_mean(map_BDHW, instances, stride)
    pooled_ND11: Tensor = roi_align(
        map_BDHW, instances.rois_N5, output_size=1, spatial_scale=1 / stride, sampling_ratio=-1, aligned=True
    )
    return pooled_ND11.flatten(1)


def l2_normalize(features: Tensor) -> Tensor:
    """Return the features at length 1 along the last axis. A zero feature stays zero and sends no gradient."""
    norm = torch.linalg.vector_norm(features, dim=-1, keepdim=True)
    is_nonzero = norm > _MIN_NORM
    return torch.where(is_nonzero, features / torch.where(is_nonzero, norm, 1.0), 0.0)


def _crop_mean(map_BDHW: Tensor, instances: Instances, stride: int) -> Tensor:
    x1_N, y1_N, x2_N, y2_N = instances.boxes_N4.unbind(1)
    height, width = map_BDHW.shape[-2:]
    rows_NH = cropped_cells(y1_N, y2_N, stride=stride, num_cells=height).float()
    columns_NW = cropped_cells(x1_N, x2_N, stride=stride, num_cells=width).float()
    rows_NH = rows_NH / rows_NH.sum(dim=1, keepdim=True)
    columns_NW = columns_NW / columns_NW.sum(dim=1, keepdim=True)
    counts = list(instances.counts)
    parts = zip(torch.split(rows_NH, counts), torch.split(columns_NW, counts), map_BDHW, strict=True)
    return torch.cat([torch.einsum("nh,nw,dhw->nd", rows, columns, map_DHW) for rows, columns, map_DHW in parts])
