"""Draws boxes on images: a color for each class, names that can be read, panels with titles and a legend.

Shape legend: ``N`` boxes of an image.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor, to_pil_image
from torchvision.utils import draw_bounding_boxes

PALETTE = (
    "#ff6b6b",
    "#5fd068",
    "#ffe119",
    "#6fa8ff",
    "#ffa94d",
    "#d58cff",
    "#46f0f0",
    "#ff7bd5",
    "#bcf60c",
    "#d9d9d9",
)
"""Light colors, on which black text can be read."""

_GAP_PX = 8


def color_of(label: int) -> str:
    """Return the color of a class; label 1 is the first."""
    return PALETTE[(label - 1) % len(PALETTE)]


def draw_boxes(image: Tensor, boxes_N4: Tensor, labels_N: Sequence[int], names: Sequence[str]) -> Tensor:
    """Draw boxes with their names. Later boxes lie over earlier ones.

    Args:
        image: uint8 (3, H, W) RGB.
        boxes_N4: xyxy pixels.
        labels_N: give the colors; 1 is the first class.
        names: text of each box.

    Returns:
        uint8 (3, H, W), another tensor.
    """
    if not len(boxes_N4):
        return image.clone()
    side = max(image.shape[-2:])
    colors = [color_of(label) for label in labels_N]
    drawn: Tensor = draw_bounding_boxes(
        image,
        boxes_N4,
        labels=list(names),
        colors=colors,
        width=max(2, round(side / 300)),
        font=_font_file(),
        font_size=_font_size(side),
        label_colors=["black"] * len(colors),
        label_background_colors=colors,
        fill_labels=True,
    )
    return drawn


def scored_names(classes: Sequence[str], labels_N: Iterable[int], scores_N: Iterable[float]) -> list[str]:
    """Return the text of detections: class and score, such as ``dog 0.93``."""
    return [f"{classes[label - 1]} {score:.2f}" for label, score in zip(labels_N, scores_N, strict=True)]


def panels(images: Mapping[str, Tensor], legend: Mapping[str, str]) -> Tensor:
    """Put images of the same size side by side, each under its title, with a legend below.

    Args:
        images: title to image, uint8 (3, H, W).
        legend: text to color.

    Returns:
        uint8 (3, H', W').
    """
    height, width = next(iter(images.values())).shape[-2:]
    font = ImageFont.truetype(_font_file(), _font_size(max(height, width)))
    line_px = round(1.5 * font.size)
    total_px = len(images) * width + (len(images) - 1) * _GAP_PX
    rows = _wrap(legend, font, total_px, line_px)
    canvas = Image.new("RGB", (total_px, line_px + height + len(rows) * line_px), "white")
    draw = ImageDraw.Draw(canvas)
    for position, (title, image) in enumerate(images.items()):
        edge = position * (width + _GAP_PX)
        draw.text((edge, line_px / 2), title, fill="black", font=font, anchor="lm")
        canvas.paste(to_pil_image(image), (edge, line_px))
    for row, entries in enumerate(rows):
        middle = line_px + height + (row + 0.5) * line_px
        for left, text in entries:
            half = font.size / 2
            draw.rectangle((left, middle - half, left + font.size, middle + half), fill=legend[text], outline="black")
            draw.text((left + 1.4 * font.size, middle), text, fill="black", font=font, anchor="lm")
    picture: Tensor = pil_to_tensor(canvas)
    return picture


def class_legend(classes: Sequence[str], labels: Iterable[int]) -> dict[str, str]:
    """Return class name to color, of the classes among ``labels``, in their order."""
    return {classes[label - 1]: color_of(label) for label in sorted(set(labels))}


def resize_to(image: Tensor, side_px: int) -> tuple[Tensor, float]:
    """Shrink an image whose longer side exceeds ``side_px``. Return it, and the factor of its sides."""
    scale = min(1.0, side_px / max(image.shape[-2:]))
    if scale == 1.0:
        return image, scale
    height, width = (max(1, round(side * scale)) for side in image.shape[-2:])
    resized = torch.nn.functional.interpolate(
        image[None].float(), size=(height, width), mode="bilinear", antialias=True
    )
    return resized[0].round().clamp(0, 255).to(torch.uint8), scale


def _wrap(
    legend: Mapping[str, str], font: ImageFont.FreeTypeFont, total_px: int, line_px: int
) -> list[list[tuple[float, str]]]:
    """Return the left edge and the text of each entry, row by row."""
    rows: list[list[tuple[float, str]]] = []
    left: float = total_px
    for text in legend:
        needed = 1.4 * font.size + font.getlength(text) + line_px
        if left + needed > total_px:
            rows.append([])
            left = 0.0
        rows[-1].append((left, text))
        left += needed
    return rows


def _font_file() -> str:
    return str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")


def _font_size(side_px: int) -> int:
    return max(11, round(side_px / 45))
