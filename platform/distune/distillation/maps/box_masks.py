"""Boxes painted onto maps, and the level that a box belongs to.

Shape legend: ``B`` batch, ``H`` ``W`` a map, ``N`` instances.
"""

from __future__ import annotations

import torch
from torch import Tensor

from distune.detectors.taps import Instances
from distune.distillation.maps.box_cells import centred_cells

_FINEST_STRIDE = 4


def level_of_boxes(boxes_N4: Tensor, strides: tuple[int, ...], *, base_size_px: float) -> Tensor:
    """The level that each box belongs to: ``floor(log2(sqrt(area) / base_size))`` counted from stride 4.

    A level that is not there gives way to the next finer one, or to the finest of all.

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
    """Paints the boxes onto a map; where they overlap the largest value stays, so their order does not matter.

    A box covers the cells whose centre it holds and the cell that holds its own centre (``cells.centred_cells``).

    Args:
        values_N: what to paint for each box, at least 0, or -1 for boxes that are not painted.
        instances: the boxes.
        stride: pixels per cell.
        size: height and width of the map.

    Returns:
        (B, H, W); -1 where no box was painted.
    """
    x1_N, y1_N, x2_N, y2_N = instances.boxes_N4.unbind(1)
    rows_NH = centred_cells(y1_N, y2_N, stride=stride, num_cells=size[0])
    columns_NW = centred_cells(x1_N, x2_N, stride=stride, num_cells=size[1])
    covered_NHW = rows_NH[:, :, None] & columns_NW[:, None, :]
    painted_NP = torch.where(covered_NHW, values_N[:, None, None], -1.0).flatten(1)
    mask_BP = torch.full((len(instances.counts), size[0] * size[1]), -1.0, device=values_N.device)
    mask_BP.scatter_reduce_(0, instances.image_of_N[:, None].expand_as(painted_NP), painted_NP, "amax")
    return mask_BP.reshape(-1, *size)


def weight_of_cells(weights_N: Tensor, instances: Instances, *, stride: int, size: tuple[int, int]) -> Tensor:
    """The weight of each cell: that of the box that covers it, the largest where several do, and 1 outside of boxes.

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
