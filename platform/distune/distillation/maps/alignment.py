"""Lays a teacher's map over a student's, where the two models saw the images in different sizes.

Shape legend: ``B`` batch, ``E`` teacher channels, ``H`` ``W`` a map.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from distune.detectors.taps import Frame


@torch.no_grad()
def align(teacher_BEHW: Tensor, teacher: Frame, student: Frame, *, stride: int, size: tuple[int, int]) -> Tensor:
    """The teacher's map at the cells of the student's.

    Where both saw the same batch it is the map itself. Else each cell of the student takes the bilinear sample at the
    place that shows the same part of the image; cells in the student's padding take what lies at the teacher's border.

    Args:
        teacher_BEHW: the map to lay over.
        teacher: what the teacher saw.
        student: what the student saw.
        stride: of the level, pixels per cell in either model.
        size: height and width of the student's map.

    Returns:
        (B, E, *size).
    """
    if teacher == student and teacher_BEHW.shape[-2:] == size:
        return teacher_BEHW
    grid_BHW2 = torch.stack(
        [
            torch.stack(
                torch.meshgrid(
                    _axis(teacher_BEHW, 0, stride, size[0], ours[0], theirs[0]),
                    _axis(teacher_BEHW, 1, stride, size[1], ours[1], theirs[1]),
                    indexing="ij",
                )[::-1],
                dim=-1,
            )
            for ours, theirs in zip(student.image_sizes, teacher.image_sizes, strict=True)
        ]
    )
    return functional.grid_sample(teacher_BEHW, grid_BHW2, padding_mode="border", align_corners=False)


def _axis(map_BEHW: Tensor, axis: int, stride: int, num_cells: int, ours_px: int, theirs_px: int) -> Tensor:
    """Where the centres of the student's cells lie in the teacher's map, -1 to 1 from edge to edge."""
    cell_n = torch.arange(num_cells, device=map_BEHW.device, dtype=map_BEHW.dtype)
    theirs_px_n = (cell_n + 0.5) * (stride * theirs_px / ours_px)
    return theirs_px_n * (2 / (stride * map_BEHW.shape[2 + axis])) - 1
