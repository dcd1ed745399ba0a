"""Boxes on maps: the cells that a box covers, masks of boxes, and the level that a box belongs to.

A box covers the product of the cells of two axes, none of them in the padding of its image. Shape legend: ``B`` batch,
``H`` ``W`` a map, ``L`` levels, ``N`` instances, ``S`` cells along one axis of a map.
"""

from __future__ import annotations

import torch
from torch import Tensor

from distune.detectors.taps import Instances
from distune.distillation.maps.padding import image_cells_of_boxes

_FINEST_STRIDE = 4


def cropped_cells(low_N: Tensor, high_N: Tensor, *, stride: int, num_cells: int) -> Tensor:
    """Return the cells of an integer crop: from the cell that contains ``low`` to the one before that of ``high``.

    Args:
        low_N: left or upper edges, pixels.
        high_N: right or lower edges, pixels.
        stride: pixels per cell.
        num_cells: cells along this axis of the map.

    Returns:
        Bool, (N, S). Each box covers at least one cell, also when it is smaller than a cell or outside the map.
    """
    first_N = torch.floor(low_N / stride).clamp(0, num_cells - 1)
    end_N = torch.maximum(torch.floor(high_N / stride), first_N + 1)
    cell_S = torch.arange(num_cells, device=low_N.device)
    return (cell_S >= first_N[:, None]) & (cell_S < end_N[:, None])


def centered_cells(
    low_N: Tensor, high_N: Tensor, *, stride: int, num_cells: int, image_cells_N: Tensor | None = None
) -> Tensor:
    """Return the cells whose center lies in the box, and the cell that contains the box's center.

    Args:
        low_N: left or upper edges, pixels; a cell's center on this edge is inside.
        high_N: right or lower edges, pixels; a cell's center on this edge is outside.
        stride: pixels per cell.
        num_cells: cells along this axis of the map.
        image_cells_N: the number of cells of each box's image, the first ones of the axis: a box covers no others. None
            allows all cells.

    Returns:
        Bool, (N, S). Each box covers at least one cell, also when it is smaller than a cell or outside the map.
    """
    cell_S = torch.arange(num_cells, device=low_N.device)
    center_S = (cell_S + 0.5) * stride
    nearest_N = torch.floor((low_N + high_N) / (2 * stride)).clamp(0, num_cells - 1)
    inside_NS = (center_S >= low_N[:, None]) & (center_S < high_N[:, None])
    if image_cells_N is not None:
        nearest_N = torch.minimum(nearest_N, image_cells_N - 1)
        inside_NS &= cell_S < image_cells_N[:, None]
    return inside_NS | (cell_S == nearest_N[:, None])


def covered_cells(instances: Instances, *, stride: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return the rows and the columns of a map that each box covers, by ``centered_cells``.

    Args:
        instances: the boxes.
        stride: pixels per cell.
        size: height and width of the map.

    Returns:
        Bool, (N, H) and (N, W).
    """
    x1_N, y1_N, x2_N, y2_N = instances.boxes_N4.unbind(1)
    rows_N, columns_N = image_cells_of_boxes(instances, stride=stride, size=size) or (None, None)
    return (
        centered_cells(y1_N, y2_N, stride=stride, num_cells=size[0], image_cells_N=rows_N),
        centered_cells(x1_N, x2_N, stride=stride, num_cells=size[1], image_cells_N=columns_N),
    )


def counted_levels(boxes_N4: Tensor, strides: tuple[int, ...], *, min_cells: float) -> Tensor:
    """Return the levels on which each box counts: it is at least some cells in size there, or the level is the finest.

    Args:
        boxes_N4: xyxy pixels.
        strides: of the levels, fine to coarse.
        min_cells: the smallest side, ``sqrt(area)``, in cells of the level; 0 counts every box on every level.

    Returns:
        Bool, (L, N).
    """
    side_N = (boxes_N4[:, 2:] - boxes_N4[:, :2]).prod(dim=1).sqrt()
    coarser = [side_N >= min_cells * stride for stride in strides[1:]]
    return torch.stack([torch.ones_like(side_N, dtype=torch.bool), *coarser])


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

    A box covers the cells whose center it contains and the cell that contains its center (``covered_cells``).

    Args:
        values_N: the value of each box, at least 0, or -1 for boxes to leave out.
        instances: the boxes.
        stride: pixels per cell.
        size: height and width of the map.

    Returns:
        (B, H, W); -1 outside of all boxes.
    """
    rows_NH, columns_NW = covered_cells(instances, stride=stride, size=size)
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
