"""Exact boxes under mixed precision: anchors and head outputs in float32.

torchvision gives anchors the type of the feature maps, and decoded boxes the type of the head's outputs. In bfloat16,
which has eight significant bits, coordinates of a 1333-pixel image would be off by up to four pixels.

The casts are hooks, so that a detector keeps torchvision's classes and parameter names. Each hook is a function of this
module with the types that ``torch.jit.script`` reads: a detector can be pickled and scripted.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection.fcos import FCOSRegressionHead
from torchvision.models.detection.image_list import ImageList


def cast_one_stage_to_float32(model: Any) -> None:
    """Register hooks, so that anchors and head outputs of a one-stage detector are float32.

    Args:
        model: has ``anchor_generator`` and ``head``. Its state dict does not change.
    """
    model.anchor_generator.register_forward_pre_hook(_maps)
    model.head.classification_head.register_forward_hook(_output_of_maps)
    regression = model.head.regression_head
    has_centerness = isinstance(regression, FCOSRegressionHead)
    regression.register_forward_hook(_outputs_of_maps if has_centerness else _output_of_maps)


def cast_two_stage_to_float32(model: Any) -> None:
    """Register hooks, so that anchors and head outputs of a two-stage detector are float32.

    Args:
        model: has ``rpn`` and ``roi_heads``. Its state dict does not change.
    """
    model.rpn.anchor_generator.register_forward_pre_hook(_maps)
    model.rpn.head.register_forward_hook(_output_maps)
    model.roi_heads.box_predictor.register_forward_hook(_outputs)
    if model.roi_heads.has_mask():
        model.roi_heads.mask_predictor.register_forward_hook(_output)


def _maps(self: Any, inputs: tuple[ImageList, list[Tensor]]) -> tuple[ImageList, list[Tensor]]:
    """Replace the maps, of which an anchor generator uses only shape and type."""
    shapes_only = []
    for each in inputs[1]:
        shapes_only.append(torch.empty([1, 1, 1, 1], dtype=torch.float32, device=each.device).expand(each.shape))  # noqa: PERF401
    return inputs[0], shapes_only


def _output(self: Any, inputs: tuple[Tensor], output: Tensor) -> Tensor:
    return output.float()


def _outputs(self: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return output[0].float(), output[1].float()


def _output_of_maps(self: Any, inputs: tuple[list[Tensor]], output: Tensor) -> Tensor:
    return output.float()


def _outputs_of_maps(self: Any, inputs: tuple[list[Tensor]], output: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return output[0].float(), output[1].float()


def _output_maps(
    self: Any, inputs: tuple[list[Tensor]], output: tuple[list[Tensor], list[Tensor]]
) -> tuple[list[Tensor], list[Tensor]]:
    return [each.float() for each in output[0]], [each.float() for each in output[1]]
