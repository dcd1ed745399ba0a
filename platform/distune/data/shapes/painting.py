"""Paints the images of generated shapes: backgrounds and objects, on float32 pictures from 0 to 255.

Shape legend: ``S`` side of the picture, ``H`` ``W`` a patch of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from distune.data.generated.occlusion import cover_half
from distune.data.generated.placement import UNIT_PX
from distune.data.shapes.layout import ShapeObject
from distune.data.shapes.outlines import Outline, draw_mask

Picture = NDArray[np.float32]

_CONTRAST = (40.0, 110.0)  # distance of an object's color from the background under it
_BLUR_SHARE = 0.14  # sigma of the blur relative to the side of the object


def paint_image(
    generator: np.random.Generator, objects: Sequence[ShapeObject], *, size_px: int, clutter: float
) -> NDArray[np.uint8]:
    """Paint objects on a background, later objects above earlier ones.

    Args:
        generator: of random numbers.
        objects: with their positions.
        size_px: side of the image.
        clutter: texture of the background and similarity of the objects to it, 0 to 1.

    Returns:
        uint8 (3, S, S).
    """
    background_SS3 = paint_background(generator, size_px=size_px, clutter=clutter)
    picture_SS3 = background_SS3.copy()
    for item in objects:
        paint_object(
            generator,
            picture_SS3,
            item.outline,
            blurred="blurred" in item.tags,
            min_blur_px=1.2 * size_px / UNIT_PX,
            clutter=clutter,
        )
        if "occluded" in item.tags:
            cover_half(generator, picture_SS3, background_SS3, item.box_4)
    picture_SS3 += generator.standard_normal(picture_SS3.shape, dtype=np.float32) * generator.uniform(4.0, 12.0)
    return np.ascontiguousarray(picture_SS3.clip(0, 255).astype(np.uint8).transpose(2, 0, 1))


def paint_background(generator: np.random.Generator, *, size_px: int, clutter: float) -> Picture:
    """Paint a cloudy, striped background with colored strokes, (S, S, 3); of one color when ``clutter`` is 0."""
    picture_SS3 = _clouds(generator, size_px, cells=int(generator.integers(2, 5)), strength=60.0 * clutter, channels=3)
    picture_SS3 += generator.uniform(70.0, 185.0, size=3).astype(np.float32)
    picture_SS3 += _clouds(
        generator, size_px, cells=int(generator.integers(8, 25)), strength=30.0 * clutter, channels=1
    )
    picture_SS3 += clutter * _stripes(generator, size_px)
    strokes = Image.new("L", (size_px, size_px))
    draw = ImageDraw.Draw(strokes)
    for _ in range(int(generator.integers(2, 7))):
        ends = generator.uniform(-0.1, 1.1, size=(3, 2)) * size_px
        draw.line([(float(x), float(y)) for x, y in ends], fill=255, width=int(generator.integers(1, 4)), joint="curve")
    stroke_SS1 = np.asarray(strokes, dtype=np.float32)[..., None] / 255.0
    picture_SS3 += clutter * stroke_SS1 * _color_step(generator)
    return picture_SS3.clip(0, 255)


def paint_object(
    generator: np.random.Generator,
    picture_SS3: Picture,
    outline: Outline,
    *,
    blurred: bool,
    min_blur_px: float,
    clutter: float,
) -> None:
    """Paint an object, in place, with a texture and a random color, closer to the background with more clutter."""
    side_px = float((outline.box_4[2:] - outline.box_4[:2]).max())
    blur_px = max(min_blur_px, _BLUR_SHARE * side_px) if blurred else 0.0
    mask_HW, left, top = draw_mask(outline, margin_px=1 + round(2.5 * blur_px))
    if blurred:
        soft = Image.fromarray((mask_HW * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(blur_px))
        mask_HW = np.asarray(soft, dtype=np.float32) / 255.0
    patch_HW3, mask_HW1 = _patch(picture_SS3, mask_HW, left, top)
    under_3 = (patch_HW3 * mask_HW1).sum(axis=(0, 1)) / mask_HW1.sum()
    color_3 = under_3 + (2.0 - clutter) * _color_step(generator)
    texture = _clouds(generator, max(mask_HW.shape), cells=5, strength=18.0, channels=1)
    paint_HW3 = color_3 + texture[: patch_HW3.shape[0], : patch_HW3.shape[1]]
    patch_HW3 += mask_HW1 * (paint_HW3.clip(0, 255) - patch_HW3)


def _patch(picture_SS3: Picture, mask_HW: NDArray[np.float32], left: int, top: int) -> tuple[Picture, Picture]:
    """Return the part of the picture under a mask, as a view, and the part of the mask in the picture, (H, W, 1)."""
    size_px = len(picture_SS3)
    x1, y1 = max(left, 0), max(top, 0)
    x2, y2 = min(left + mask_HW.shape[1], size_px), min(top + mask_HW.shape[0], size_px)
    return picture_SS3[y1:y2, x1:x2], mask_HW[y1 - top : y2 - top, x1 - left : x2 - left, None]


def _clouds(generator: np.random.Generator, size_px: int, *, cells: int, strength: float, channels: int) -> Picture:
    """Return smooth random patches with mean 0, (S, S, channels)."""
    layers = [
        np.asarray(Image.fromarray(coarse).resize((size_px, size_px), Image.Resampling.BICUBIC))
        for coarse in generator.uniform(-strength, strength, size=(channels, cells, cells)).astype(np.float32)
    ]
    return np.stack(layers, axis=-1)


def _stripes(generator: np.random.Generator, size_px: int) -> Picture:
    """Return a wave of random direction, length and strength, (S, S, 1)."""
    angle, phase = generator.uniform(0.0, 2 * np.pi, size=2)
    waves = generator.uniform(3.0, 16.0)
    place_S = np.arange(size_px, dtype=np.float32) / size_px
    along_SS = place_S[:, None] * np.float32(np.sin(angle)) + place_S * np.float32(np.cos(angle))
    strength = np.float32(generator.uniform(0.0, 22.0))
    wave_SS = strength * np.sin(np.float32(2 * np.pi * waves) * along_SS + np.float32(phase))
    return wave_SS[..., None].astype(np.float32)


def _color_step(generator: np.random.Generator) -> NDArray[np.float32]:
    """Return a step in a random direction of color space, (3,)."""
    direction_3 = generator.standard_normal(3)
    length = generator.uniform(*_CONTRAST)
    return (direction_3 / np.linalg.norm(direction_3) * length).astype(np.float32)
