"""Cells of a map that belong to an image, and cells of its padding, which take no part in any comparison of maps.

An image covers the cells whose center lies in it, at least one along each axis, and no others: those that the padding
of a batch fills, and those by which a coarse map exceeds the batch. The features of boxes are pooled from the maps as
they are: next to the edge of an image, a bilinear sample may reach a cell of the padding in both models alike.

Shape legend: ``B`` batch, ``E`` channels, ``H`` ``W`` a map, ``N`` instances.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from distune.collectives import batch_count, part_factor
from distune.detectors.taps import Frame, Instances


def num_image_cells(image_px: int, *, stride: int, num_cells: int) -> int:
    """Return the number of cells of an image along one axis of a map, counted from its start.

    Args:
        image_px: height or width of the image, without padding.
        stride: pixels per cell.
        num_cells: cells along this axis of the map.

    Returns:
        The number of cells whose center lies in the image, 1 to ``num_cells``.
    """
    return min(num_cells, max(1, math.ceil(image_px / stride - 0.5)))


def has_padding(frame: Frame, *, stride: int, size: tuple[int, int]) -> bool:
    """Return whether any cell of a map of height and width ``size`` lies in padding. Known on the host."""
    return any(image != size for image in _image_cells(frame, stride=stride, size=size))


def valid_cells(frame: Frame, *, stride: int, size: tuple[int, int], device: torch.device) -> Tensor | None:
    """Return the cells that belong to an image; None when all do. Waits for no device.

    Args:
        frame: of the batch.
        stride: pixels per cell.
        size: height and width of the map.
        device: of the result.

    Returns:
        (B, H, W) bool.
    """
    if not has_padding(frame, stride=stride, size=size):
        return None
    valid_BHW = torch.zeros(len(frame.image_sizes), *size, dtype=torch.bool, device=device)
    for valid_HW, (rows, columns) in zip(valid_BHW, _image_cells(frame, stride=stride, size=size), strict=True):
        valid_HW[:rows, :columns] = True
    return valid_BHW


def image_cells_of_boxes(instances: Instances, *, stride: int, size: tuple[int, int]) -> tuple[Tensor, Tensor] | None:
    """Return the number of rows and of columns of each box's image, (N,) each; None when no cell lies in padding."""
    if not has_padding(instances.frame, stride=stride, size=size):
        return None
    cells = _image_cells(instances.frame, stride=stride, size=size)
    rows_N, columns_N = (
        torch.cat(
            [
                instances.boxes_N4.new_full((n,), of_image[axis])
                for n, of_image in zip(instances.counts, cells, strict=True)
            ]
        )
        for axis in range(2)
    )
    return rows_N, columns_N


def without_padding(map_BEHW: Tensor, valid_BHW: Tensor | None) -> Tensor:
    """Return the map with 0 in padding, where no gradient flows; the map itself when all cells are valid."""
    return map_BEHW if valid_BHW is None else torch.where(valid_BHW[:, None], map_BEHW, 0.0)


def mean_over_cells(values_BHW: Tensor, valid_BHW: Tensor | None) -> Tensor:
    """Return the mean over all valid cells of the batch, a scalar; None counts every cell."""
    if valid_BHW is None:
        return values_BHW.mean() * part_factor(values_BHW.numel(), values_BHW)
    return torch.where(valid_BHW, values_BHW, 0.0).sum() / batch_count(valid_BHW.sum())


def _image_cells(frame: Frame, *, stride: int, size: tuple[int, int]) -> list[tuple[int, int]]:
    return [
        (
            num_image_cells(height, stride=stride, num_cells=size[0]),
            num_image_cells(width, stride=stride, num_cells=size[1]),
        )
        for height, width in frame.image_sizes
    ]
