"""Masks of boxes on maps, and the level that a box belongs to.

Shape legend: ``B`` batch, ``H`` ``W`` a map, ``N`` instances.
"""

from __future__ import annotations

import torch
from torch import Tensor

from distune.detectors.taps import Instances
from distune.distillation.maps.box_cells import centered_cells

_FINEST_STRIDE = 4


def level_of_boxes(boxes_N4: Tensor, strides: tuple[int, ...], *, base_size_px: float) -> Tensor:
    """Return the level that each box belongs to: ``floor(log2(sqrt(area) / base_size))`` counted from stride 4.

    Where that level is missing, the next finer one is used, or else the finest.

    Args:
        boxes_N4: xyxy pixels.
        strides: of the levels, fine to coarse.
        base_size_px: boxes from this side to twice of it belong to stride 4, the next doubling to stride 8, and so on.

    Returns:
        (N,) int64 indices into ``strides``.
    """
    width_N, height_N = boxes_N4[:, 2] - boxes_N4[:, 0], boxes_N4[:, 3] - boxes_N4[:, 1]
    doublings_N = torch.floor(torch.log2(torch.sqrt(width_N * height_N) / base_size_px))
    reached = [2.0**doublings_N * _FINEST_STRIDE >= stride for stride in strides[1:]]
    return sum(reached, torch.zeros_like(doublings_N, dtype=torch.int64))


def weight_mask(values_N: Tensor, instances: Instances, *, stride: int, size: tuple[int, int]) -> Tensor:
    """Draw the boxes onto a map; where they overlap the largest value wins, so their order does not matter.

    A box covers the cells whose center it contains and the cell that contains its center (``centered_cells``).

    Args:
        values_N: the value of each box, at least 0, or -1 for boxes to leave out.
        instances: the boxes.
        stride: pixels per cell.
        size: height and width of the map.

    Returns:
        (B, H, W); -1 outside of all boxes.
    """
    x1_N, y1_N, x2_N, y2_N = instances.boxes_N4.unbind(1)
    rows_NH = centered_cells(y1_N, y2_N, stride=stride, num_cells=size[0])
    columns_NW = centered_cells(x1_N, x2_N, stride=stride, num_cells=size[1])
    covered_NHW = rows_NH[:, :, None] & columns_NW[:, None, :]
    values_NP = torch.where(covered_NHW, values_N[:, None, None], -1.0).flatten(1)
    mask_BP = torch.full((len(instances.counts), size[0] * size[1]), -1.0, device=values_N.device)
    mask_BP.scatter_reduce_(0, instances.image_of_N[:, None].expand_as(values_NP), values_NP, "amax")
    return mask_BP.reshape(-1, *size)


def cell_weights(weights_N: Tensor, instances: Instances, *, stride: int, size: tuple[int, int]) -> Tensor:
    """Return the weight of each cell: the largest of the boxes that cover it, and 1 outside of boxes.

    Args:
        weights_N: of the boxes, 0 to 1.
        instances: the boxes.
        stride: pixels per cell.
        size: height and width of the map.

    Returns:
        (B, H, W).
    """
    mask_BHW = weight_mask(weights_N, instances, stride=stride, size=size)
    return torch.where(mask_BHW < 0, 1.0, mask_BHW)
