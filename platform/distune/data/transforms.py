"""torchvision v2 transforms from a stored image to the input of a detector.

A sample is a dict of ``image`` (a ``tv_tensors.Image``, uint8), ``boxes`` (``tv_tensors.BoundingBoxes``), ``labels``,
``box_index`` and ``image_index``, and ``masks`` (a ``tv_tensors.Mask``, uint8) where the model is trained on masks.
Evaluation only needs ``to_unit_range``: the detector itself resizes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

Sample = dict[str, Any]
Transform = Callable[[Sample], Sample]


def training_transform(
    *,
    min_size_px: int,
    max_size_px: int,
    horizontal_flip: float = 0.0,
    vertical_flip: float = 0.0,
    color_jitter: float = 0.0,
) -> Transform:
    """Flip and jitter at random, then apply ``plain_transform``. Uses torch's global generator, as torchvision does.

    Args:
        min_size_px: the shorter side after resizing.
        max_size_px: the longer side is at most this.
        horizontal_flip: probability of a flip left to right.
        vertical_flip: probability of a flip upside down.
        color_jitter: strength of random brightness, contrast and saturation; 0 is none.

    Returns:
        The transform of a sample.
    """
    steps: list[Any] = []
    if horizontal_flip > 0:
        steps.append(v2.RandomHorizontalFlip(horizontal_flip))
    if vertical_flip > 0:
        steps.append(v2.RandomVerticalFlip(vertical_flip))
    if color_jitter > 0:
        steps.append(v2.ColorJitter(brightness=color_jitter, contrast=color_jitter, saturation=color_jitter))
    pipeline: Transform = v2.Compose([*steps, *_to_detector(min_size_px, max_size_px)])
    return pipeline


def plain_transform(*, min_size_px: int, max_size_px: int) -> Transform:
    """Resize, convert to float in [0, 1], and remove boxes that have become smaller than a pixel."""
    pipeline: Transform = v2.Compose(_to_detector(min_size_px, max_size_px))
    return pipeline


def to_unit_range(image: Tensor) -> Tensor:
    """Convert a uint8 image to float32 in [0, 1]."""
    return image.to(torch.float32) / 255.0


def _to_detector(min_size_px: int, max_size_px: int) -> list[Any]:
    return [
        _resize(min_size_px, max_size_px),
        v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True),
        # Rounding may move a corner slightly outside of the image, and SanitizeBoundingBoxes removes such boxes.
        v2.ClampBoundingBoxes(),
        v2.SanitizeBoundingBoxes(labels_getter=_per_box),
        v2.ToPureTensor(),
    ]


def _resize(min_size_px: int, max_size_px: int) -> Any:
    # torchvision refuses equal sizes: resize by the longer side only.
    if min_size_px == max_size_px:
        return v2.Resize(None, max_size=max_size_px, antialias=True)
    return v2.Resize([min_size_px], max_size=max_size_px, antialias=True)


def _per_box(sample: Sample) -> tuple[Tensor, Tensor]:
    """Return the values per box, which are removed together with the box."""
    return sample["labels"], sample["box_index"]
