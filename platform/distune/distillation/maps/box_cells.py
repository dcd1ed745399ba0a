"""The cells of a neck map that a box covers, one axis at a time; a box covers the product of both axes.

Shape legend: ``N`` boxes, ``S`` cells along one axis of a map.
"""

from __future__ import annotations

import torch
from torch import Tensor


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


def centered_cells(low_N: Tensor, high_N: Tensor, *, stride: int, num_cells: int) -> Tensor:
    """Return the cells whose center lies in the box, and the cell that contains the box's center.

    Args:
        low_N: left or upper edges, pixels; a cell's center on this edge is inside.
        high_N: right or lower edges, pixels; a cell's center on this edge is outside.
        stride: pixels per cell.
        num_cells: cells along this axis of the map.

    Returns:
        Bool, (N, S). Each box covers at least one cell, also when it is smaller than a cell or outside the map.
    """
    cell_S = torch.arange(num_cells, device=low_N.device)
    center_S = (cell_S + 0.5) * stride
    nearest_N = torch.floor((low_N + high_N) / (2 * stride)).clamp(0, num_cells - 1)
    inside_NS = (center_S >= low_N[:, None]) & (center_S < high_N[:, None])
    return inside_NS | (cell_S == nearest_N[:, None])
