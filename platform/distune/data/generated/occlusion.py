"""Covering a part of a generated object."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def cover_half(
    generator: np.random.Generator,
    picture_SS3: NDArray[np.float32],
    background_SS3: NDArray[np.float32],
    box_4: NDArray[np.float64],
) -> None:
    """Cover half of an object's box, in place, with another part of the background, on a random side of its center.

    Args:
        generator: of random numbers.
        picture_SS3: the picture with the object; S is its side.
        background_SS3: the picture without any object.
        box_4: xyxy box of the object in pixels.
    """
    x1, y1, x2, y2 = box_4
    size_px = len(picture_SS3)
    column_S, row_S = np.arange(size_px) + 0.5, np.arange(size_px) + 0.5
    angle = generator.uniform(0.0, 2 * np.pi)
    beyond_SS = (row_S[:, None] - (y1 + y2) / 2) * np.sin(angle) + (column_S - (x1 + x2) / 2) * np.cos(angle) > 0
    inside_SS = ((row_S > y1 - 1) & (row_S < y2 + 1))[:, None] & ((column_S > x1 - 1) & (column_S < x2 + 1))
    shift = generator.integers(size_px // 4, 3 * size_px // 4, size=2)
    elsewhere_SS3 = np.roll(background_SS3, (int(shift[0]), int(shift[1])), axis=(0, 1))
    covered_SS = beyond_SS & inside_SS
    picture_SS3[covered_SS] = elsewhere_SS3[covered_SS]
