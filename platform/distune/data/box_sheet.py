"""Draws images of a split with their boxes, to see whether the boxes lie on the objects."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional
from torchvision.utils import make_grid

from distune.data.dataset import DetectionDataset, ImageError
from distune.data.draw_boxes import draw_boxes

_COLUMNS = 4


def draw_sheet(dataset: DetectionDataset, *, num_images: int = 24, tile_px: int = 400) -> Tensor:
    """Draw images, evenly spaced over a split, with their boxes and class names.

    Args:
        dataset: the split.
        num_images: largest number of images.
        tile_px: side of the square that each image fits into.

    Returns:
        uint8 (3, H, W) RGB. Names of crowd and difficult boxes are in parentheses.

    Raises:
        ImageError: none of the images can be decoded.
    """
    count = min(num_images, len(dataset))
    drawn = []
    error = None
    for index in (position * len(dataset) // count for position in range(count)):
        try:
            drawn.append(_draw(dataset, index, tile_px))
        except ImageError as problem:
            error = problem
    if not drawn and error is not None:
        raise error
    height, width = (max(image.shape[side] for image in drawn) for side in (1, 2))
    tiles = [
        functional.pad(image, [0, 0, width - image.shape[2], height - image.shape[1]], fill=[255.0]) for image in drawn
    ]
    sheet: Tensor = make_grid(torch.stack(tiles), nrow=min(_COLUMNS, math.ceil(math.sqrt(len(tiles)))), pad_value=255)
    return sheet


def _draw(dataset: DetectionDataset, index: int, tile_px: int) -> Tensor:
    image = dataset.annotations(index)
    scale = tile_px / max(image.width, image.height)
    height, width = max(1, round(image.height * scale)), max(1, round(image.width * scale))
    pixels: Tensor = functional.resize(dataset.image(index), [height, width], antialias=True)
    if len(image) == 0:
        return pixels
    names = [dataset.classes[label - 1] for label in image.labels_N.tolist()]
    labels = [
        f"({name})" if is_ignored else name for name, is_ignored in zip(names, image.ignored_N.tolist(), strict=True)
    ]
    boxes_N4 = torch.from_numpy(image.boxes_N4) * torch.tensor([width / image.width, height / image.height] * 2)
    return draw_boxes(pixels, boxes_N4, image.labels_N.tolist(), labels)
