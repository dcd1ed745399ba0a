"""Which cells of a neck map a box covers, along one axis at a time. The cover of a box is the product of two axes.

Shape legend: ``N`` boxes, ``S`` cells along one axis of a map.
"""

from __future__ import annotations

import torch
from torch import Tensor


def cropped_cells(low_N: Tensor, high_N: Tensor, *, stride: int, num_cells: int) -> Tensor:
    """The whole cells of an integer crop: from the cell that holds ``low`` up to, not including, that of ``high``.

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


def centred_cells(low_N: Tensor, high_N: Tensor, *, stride: int, num_cells: int) -> Tensor:
    """The cells whose centre lies in the box, and the cell that holds the box's own centre.

    Args:
        low_N: left or upper edges, pixels; a cell's centre on this edge is inside.
        high_N: right or lower edges, pixels; a cell's centre on this edge is outside.
        stride: pixels per cell.
        num_cells: cells along this axis of the map.

    Returns:
        Bool, (N, S). Each box covers at least one cell, also when it is smaller than a cell or outside the map.
    """
    cell_S = torch.arange(num_cells, device=low_N.device)
    centre_S = (cell_S + 0.5) * stride
    own_N = torch.floor((low_N + high_N) / (2 * stride)).clamp(0, num_cells - 1)
    inside_NS = (centre_S >= low_N[:, None]) & (centre_S < high_N[:, None])
    return inside_NS | (cell_S == own_N[:, None])
