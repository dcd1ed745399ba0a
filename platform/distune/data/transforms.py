"""torchvision v2 pipelines from a stored image to what a detector is trained on.

A sample is a dict of ``image`` (a ``tv_tensors.Image``, uint8), ``boxes`` (``tv_tensors.BoundingBoxes``), ``labels``,
``box_index`` and ``image_index``, and ``masks`` (a ``tv_tensors.Mask``, uint8) where a model learns from them.
Evaluation needs only ``to_unit_range``: the detector resizes by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from distune.config.data import ImageSettings

Sample = dict[str, Any]
Transform = Callable[[Sample], Sample]


def training_transform(settings: ImageSettings) -> Transform:
    """Flips, colour jitter, then as ``plain_transform``. Draws from torch's global generator, as torchvision does."""
    augmentation = settings.augmentation
    steps: list[Any] = []
    if augmentation.horizontal_flip > 0:
        steps.append(v2.RandomHorizontalFlip(augmentation.horizontal_flip))
    if augmentation.vertical_flip > 0:
        steps.append(v2.RandomVerticalFlip(augmentation.vertical_flip))
    if augmentation.color_jitter > 0:
        strength = augmentation.color_jitter
        steps.append(v2.ColorJitter(brightness=strength, contrast=strength, saturation=strength))
    pipeline: Transform = v2.Compose([*steps, *_to_detector(settings)])
    return pipeline


def plain_transform(settings: ImageSettings) -> Transform:
    """Resize, to float in [0, 1], and drop boxes that have become smaller than a pixel."""
    pipeline: Transform = v2.Compose(_to_detector(settings))
    return pipeline


def to_unit_range(image: Tensor) -> Tensor:
    """A uint8 image as float32 in [0, 1]."""
    return image.to(torch.float32) / 255.0


def _to_detector(settings: ImageSettings) -> list[Any]:
    return [
        _resize(settings.min_size_px, settings.max_size_px),
        v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True),
        # Rounding may put a corner a hair outside of the image, and SanitizeBoundingBoxes would drop such a box.
        v2.ClampBoundingBoxes(),
        v2.SanitizeBoundingBoxes(labels_getter=_per_box),
        v2.ToPureTensor(),
    ]


def _resize(min_size_px: int, max_size_px: int) -> Any:
    # torchvision refuses equal sizes; then the longer side alone decides.
    if min_size_px == max_size_px:
        return v2.Resize(None, max_size=max_size_px, antialias=True)
    return v2.Resize([min_size_px], max_size=max_size_px, antialias=True)


def _per_box(sample: Sample) -> tuple[Tensor, Tensor]:
    """What belongs to a box and must go when it goes."""
    return sample["labels"], sample["box_index"]
