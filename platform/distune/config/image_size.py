"""The size of an image after resizing: the one rule of training, evaluation and checks."""

from __future__ import annotations


def resized_size(height: int, width: int, *, min_size_px: int, max_size_px: int) -> tuple[int, int]:
    """Return height and width after resizing, as ``torchvision.transforms.v2.Resize`` computes them.

    Args:
        height: of the image, in pixels.
        width: of the image, in pixels.
        min_size_px: of the shorter side.
        max_size_px: bound of the longer side; the ratio of the sides is kept.

    Returns:
        Whole numbers; 0 for a side that vanishes.
    """
    short, long = min(height, width), max(height, width)
    new_short, new_long = min_size_px, int(min_size_px * long / short)
    if new_long > max_size_px or min_size_px == max_size_px:
        new_short, new_long = int(max_size_px * short / long), max_size_px
    return (new_short, new_long) if height <= width else (new_long, new_short)
