"""Paints images of digits on photographs, on float32 pictures from 0 to 255.

Shape legend: ``S`` side of the picture, ``H`` ``W`` a region of a photograph, or a patch of the picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from distune.data.digits.layout import DigitObject
from distune.data.generated.occlusion import cover_half

Picture = NDArray[np.float32]

_CROP_SIDE_PX = (64.0, 160.0)
_BRIGHTNESS = (0.6, 1.2)
_CONTRAST = (100.0, 180.0)  # distance of a digit's color from the background under it
_BLUR_SHARE = 0.08  # sigma of the blur relative to the side of the object
_NOISE = (2.0, 8.0)


def paint_image(
    generator: np.random.Generator,
    objects: Sequence[DigitObject],
    photos: Sequence[NDArray[np.uint8]],
    *,
    size_px: int,
) -> NDArray[np.uint8]:
    """Paint digits on a part of a photograph, later objects above earlier ones.

    Args:
        generator: of random numbers.
        objects: with their positions.
        photos: regions of photographs, (H, W, 3) each.
        size_px: side of the image.

    Returns:
        uint8 (3, S, S).
    """
    background_SS3 = cut_background(generator, photos, size_px=size_px)
    picture_SS3 = background_SS3.copy()
    for item in objects:
        paint_digit(generator, picture_SS3, item, min_blur_px=0.01 * size_px)
        if "occluded" in item.tags:
            cover_half(generator, picture_SS3, background_SS3, item.box_4)
    picture_SS3 += generator.standard_normal(picture_SS3.shape, dtype=np.float32) * generator.uniform(*_NOISE)
    return np.ascontiguousarray(picture_SS3.clip(0, 255).astype(np.uint8).transpose(2, 0, 1))


def cut_background(generator: np.random.Generator, photos: Sequence[NDArray[np.uint8]], *, size_px: int) -> Picture:
    """Cut a random square out of a photograph, scale it to (S, S, 3), and change its brightness; half are mirrored."""
    photo_HW3 = photos[int(generator.integers(len(photos)))]
    high = min(_CROP_SIDE_PX[1], *photo_HW3.shape[:2])
    side = float(generator.uniform(_CROP_SIDE_PX[0], high))
    top, left = generator.uniform(0.0, np.array(photo_HW3.shape[:2]) - side)
    crop = Image.fromarray(photo_HW3).resize(
        (size_px, size_px), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side)
    )
    picture_SS3 = np.asarray(crop, dtype=np.float32) * np.float32(generator.uniform(*_BRIGHTNESS))
    if generator.random() < 0.5:
        picture_SS3 = picture_SS3[:, ::-1]
    return np.ascontiguousarray(picture_SS3.clip(0, 255))


def paint_digit(generator: np.random.Generator, picture_SS3: Picture, item: DigitObject, *, min_blur_px: float) -> None:
    """Paint a digit, in place, in a random color: light on dark background, dark on light background."""
    mask_HW, (left, top) = item.mask_HW, item.corner_2.tolist()
    if "blurred" in item.tags:
        blur_px = max(min_blur_px, _BLUR_SHARE * max(mask_HW.shape))
        margin = round(2.5 * blur_px)
        ink = Image.fromarray((np.pad(mask_HW, margin) * 255).astype(np.uint8))
        mask_HW = np.asarray(ink.filter(ImageFilter.GaussianBlur(blur_px)), dtype=np.float32) / 255.0
        left, top = left - margin, top - margin
    size_px = len(picture_SS3)
    x1, y1 = max(left, 0), max(top, 0)
    x2, y2 = min(left + mask_HW.shape[1], size_px), min(top + mask_HW.shape[0], size_px)
    patch_HW3, mask_HW1 = picture_SS3[y1:y2, x1:x2], mask_HW[y1 - top : y2 - top, x1 - left : x2 - left, None]
    under_3 = (patch_HW3 * mask_HW1).sum(axis=(0, 1)) / mask_HW1.sum()
    step_3 = generator.uniform(0.4, 1.0, size=3) * generator.uniform(*_CONTRAST)
    color_3 = under_3 + (step_3 if under_3.mean() < 128 else -step_3)
    patch_HW3 += mask_HW1 * (color_3.clip(0, 255).astype(np.float32) - patch_HW3)
