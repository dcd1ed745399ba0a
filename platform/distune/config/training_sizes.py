"""Checks the sizes of training images that an experiment draws at random."""

from __future__ import annotations

from distune.config.data import ImageSettings
from distune.config.detector import DetectorSettings, SsdliteSettings, SsdSettings


def training_size_problems(data: ImageSettings, student: DetectorSettings) -> list[str]:
    """Check ``data.augmentation.min_sizes_px``.

    Args:
        data: images and their augmentation.
        student: the detector that is trained on them.

    Returns:
        The problems, each as ``path = value<tab>message``.
    """
    sizes = data.augmentation.min_sizes_px
    if sizes is None:
        return []
    problems = []
    if max(sizes) > data.max_size_px:
        problems.append(
            f"data.augmentation.min_sizes_px = {sizes}\tmust not have more than data.max_size_px = {data.max_size_px}"
        )
    if isinstance(student, SsdSettings | SsdliteSettings):
        problems.append(
            f"data.augmentation.min_sizes_px = {sizes}\thas no effect on student.family = {student.family}, which "
            "resizes all images to squares of student.input_size_px; use zoom_out and iou_crop"
        )
    return problems
