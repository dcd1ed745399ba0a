"""Alignment of a teacher's map with a student's, when the two models resize the images differently.

Shape legend: ``B`` batch, ``E`` teacher channels, ``H`` ``W`` a map.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from distune.detectors.taps import Frame
from distune.distillation.maps.padding import num_image_cells


@torch.no_grad()
def align(teacher_BEHW: Tensor, teacher: Frame, student: Frame, *, stride: int, size: tuple[int, int]) -> Tensor:
    """Return the teacher's map at the cells of the student's.

    When both models saw the same batch it is the map itself. Otherwise each cell of the student gets the bilinear
    sample at the same position of the image, of the cells that the image has in the teacher: beyond the centers of its
    last ones they continue, so that the teacher's padding does not reach the student's cells.

    Args:
        teacher_BEHW: the teacher's map.
        teacher: frame of the teacher's images.
        student: frame of the student's images.
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
                    _axis(teacher_BEHW, 0, stride, size[0], student_size[0], teacher_size[0]),
                    _axis(teacher_BEHW, 1, stride, size[1], student_size[1], teacher_size[1]),
                    indexing="ij",
                )[::-1],
                dim=-1,
            )
            for student_size, teacher_size in zip(student.image_sizes, teacher.image_sizes, strict=True)
        ]
    )
    return functional.grid_sample(teacher_BEHW, grid_BHW2, padding_mode="border", align_corners=False)


def _axis(map_BEHW: Tensor, axis: int, stride: int, num_cells: int, student_px: int, teacher_px: int) -> Tensor:
    """Return the centers of the student's cells in the teacher's map, -1 to 1 from edge to edge."""
    cell_n = torch.arange(num_cells, device=map_BEHW.device, dtype=map_BEHW.dtype)
    teacher_px_n = (cell_n + 0.5) * (stride * teacher_px / student_px)
    last_cell = num_image_cells(teacher_px, stride=stride, num_cells=map_BEHW.shape[2 + axis]) - 1
    teacher_px_n = teacher_px_n.clamp(max=(last_cell + 0.5) * stride)
    return teacher_px_n * (2 / (stride * map_BEHW.shape[2 + axis])) - 1
