"""Exact boxes under mixed precision: anchors and head outputs in float32.

torchvision gives anchors the type of the feature maps, and decoded boxes the type of the head's outputs. In bfloat16,
which has eight significant bits, coordinates of a 1333-pixel image would be off by up to four pixels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator


class Float32AnchorGenerator(AnchorGenerator):  # type: ignore[misc]
    """torchvision's anchors, in float32 for feature maps of any type."""

    def forward(self, image_list: Any, feature_maps: list[Tensor]) -> list[Tensor]:
        """Return the anchors of each image, (A, 4) float32, xyxy pixels of the padded batch."""
        anchors: list[Tensor] = super().forward(image_list, _shapes_only(feature_maps))
        return anchors


class Float32DefaultBoxGenerator(DefaultBoxGenerator):  # type: ignore[misc]
    """torchvision's anchors of SSD, in float32 for feature maps of any type."""

    def forward(self, image_list: Any, feature_maps: list[Tensor]) -> list[Tensor]:
        """Return the anchors of each image, (A, 4) float32, xyxy pixels of the batch."""
        anchors: list[Tensor] = super().forward(image_list, _shapes_only(feature_maps))
        return anchors


def cast_outputs_to_float32(head: nn.Module) -> None:
    """Register a hook that casts a head's outputs to float32. The state dict does not change."""
    head.register_forward_hook(lambda _module, _inputs, outputs: _float32(outputs))


def _shapes_only(feature_maps: list[Tensor]) -> list[Tensor]:
    return [each.new_empty((), dtype=torch.float32).expand(each.shape) for each in feature_maps]


def _float32(outputs: Any) -> Any:
    if isinstance(outputs, Tensor):
        return outputs.float()
    if isinstance(outputs, dict):
        return {name: _float32(each) for name, each in outputs.items()}
    return type(outputs)(_float32(each) for each in outputs)
