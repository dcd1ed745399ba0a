"""The FGFI term: fine-grained imitation of the teacher's maps at the cells that are near objects.

Shape legend: ``B`` batch, ``E`` teacher channels, ``H`` ``W`` a map, ``N`` instances.
"""

from __future__ import annotations

import functools
import itertools

import torch
from torch import Tensor, nn

from distune.collectives import batch_count
from distune.config.distillation import DistillationSettings
from distune.detectors.taps import Instances
from distune.distillation.maps.padding import valid_cells
from distune.distillation.term import Step, TermContext
from distune.distillation.terms.map_term import MapTerm

_SCALES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
_RATIOS = (0.5, 1.0, 2.0)


@torch.no_grad()
def nearest_anchor_iou(boxes_N4: Tensor, *, stride: int, size: tuple[int, int], side_px: float) -> Tensor:
    """Return the largest IoU of each box with the anchors of each cell of a map.

    Every cell has nine anchors about its center, as RetinaNet's: areas ``side_px^2`` times 1, 2^(2/3) and 2^(4/3) in
    height-to-width ratios 1/2, 1 and 2. Detectors without anchors are treated alike. Anchor shapes are
    compared one by one, and overlaps are products of two axes: memory is a few times that of the result.

    Args:
        boxes_N4: xyxy pixels.
        stride: pixels per cell.
        size: height and width of the map.
        side_px: side of the smallest square anchor.

    Returns:
        (N, H, W), between 0 and 1.
    """
    x1_N, y1_N, x2_N, y2_N = boxes_N4.unbind(1)
    area_N11 = ((x2_N - x1_N) * (y2_N - y1_N))[:, None, None]
    largest_NHW = boxes_N4.new_zeros(boxes_N4.shape[0], *size)
    for scale, ratio in itertools.product(_SCALES, _RATIOS):
        height, width = side_px * scale * ratio**0.5, side_px * scale / ratio**0.5
        overlap_NH = _overlap(y1_N, y2_N, height, stride=stride, num_cells=size[0])
        overlap_NW = _overlap(x1_N, x2_N, width, stride=stride, num_cells=size[1])
        shared_NHW = overlap_NH[:, :, None] * overlap_NW[:, None, :]
        torch.maximum(largest_NHW, shared_NHW / (area_N11 + height * width - shared_NHW), out=largest_NHW)
    return largest_NHW


def _overlap(low_N: Tensor, high_N: Tensor, side_px: float, *, stride: int, num_cells: int) -> Tensor:
    """Return how far each box overlaps the anchor of each cell along one axis, (N, S) pixels."""
    center_S = (torch.arange(num_cells, device=low_N.device) + 0.5) * stride
    end_NS = torch.minimum(high_N[:, None], center_S + side_px / 2)
    return (end_NS - torch.maximum(low_N[:, None], center_S - side_px / 2)).clamp(min=0)


@torch.no_grad()
def near_cells(
    weights_N: Tensor, instances: Instances, *, stride: int, size: tuple[int, int], side_px: float, threshold: float
) -> Tensor:
    """Return the weight of the box that a cell is near to, the largest of several; 0 where the cell is near to none.

    A cell is near to a box of its image when the IoU of one of its anchors with the box exceeds ``threshold`` times the
    largest IoU that the box has with any anchor of the image's cells. Cells in padding are near to none.

    Args:
        weights_N: of the boxes, at least 0.
        instances: the boxes.
        stride: pixels per cell.
        size: height and width of the map.
        side_px: side of the smallest square anchor.
        threshold: the paper's psi, at least 0 and less than 1.

    Returns:
        (B, H, W).
    """
    iou_NHW = nearest_anchor_iou(instances.boxes_N4, stride=stride, size=size, side_px=side_px)
    valid_BHW = valid_cells(instances.frame, stride=stride, size=size, device=iou_NHW.device)
    if valid_BHW is not None:
        iou_NHW = torch.where(valid_BHW[instances.image_of_N], iou_NHW, 0.0)
    iou_NP = iou_NHW.flatten(1)
    values_NP = torch.where(iou_NP > threshold * iou_NP.amax(dim=1, keepdim=True), weights_N[:, None], 0.0)
    weights_BP = weights_N.new_zeros(len(instances.counts), size[0] * size[1])
    weights_BP.scatter_reduce_(0, instances.image_of_N[:, None].expand_as(values_NP), values_NP, "amax")
    return weights_BP.reshape(-1, *size)


def near_imitation(adapted_BEHW: Tensor, teacher_BEHW: Tensor, weights_BHW: Tensor) -> Tensor:
    """Return the squared error of one level at the cells near objects.

    ``sum_c w_c mean_e (A(s) - t)_ec^2 / max(1, 2 sum_c w_c)`` over the cells c of the batch, with weights from
    ``near_cells``. With weights 0 and 1, ``sum_c w_c`` is the paper's number of near cells. Wang et al., "Distilling
    Object Detectors with Fine-grained Feature Imitation", CVPR 2019, arXiv 1906.03609, which sums over channels.

    Args:
        adapted_BEHW: the student's map after its adapter, with gradient.
        teacher_BEHW: the teacher's; no gradient flows into it.
        weights_BHW: of each cell, at least 0; no gradient flows into them.

    Returns:
        A scalar.
    """
    error_BHW = (adapted_BEHW - teacher_BEHW.detach()).square().mean(dim=1)
    weights_BHW = weights_BHW.detach()
    return (weights_BHW * error_BHW).sum() / batch_count(2 * weights_BHW.sum(), at_least=1)


def level_loss(
    step: Step, level: int, adapter: nn.Module, *, threshold: float, anchor_strides: float, robust: bool
) -> Tensor:
    """Return the loss of one level, on which all boxes count, by the filter's weights when ``robust``.

    ``threshold`` is the paper's psi; ``anchor_strides`` is the side of the smallest square anchor in strides.
    """
    stride = step.strides[level]
    student_BDHW, teacher_BEHW = step.imitation_maps(level)
    height, width = teacher_BEHW.shape[-2:]
    weights_BHW = near_cells(
        step.local_weights(robust=robust)[level],
        step.instances,
        stride=stride,
        size=(height, width),
        side_px=anchor_strides * stride,
        threshold=threshold,
    )
    return near_imitation(adapter(student_BDHW), teacher_BEHW, weights_BHW)


def build_fgfi(settings: DistillationSettings, context: TermContext) -> MapTerm:
    """Build the term. Raises ``ConfigError`` when its adapter does not fit."""
    fgfi = settings.fgfi
    loss = functools.partial(
        level_loss, threshold=fgfi.threshold, anchor_strides=fgfi.anchor_strides, robust=fgfi.robust
    )
    return MapTerm(loss, adapters=context.adapters(fgfi.adapter, term="fgfi"))
