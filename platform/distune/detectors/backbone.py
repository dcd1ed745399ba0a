"""Backbones with a feature pyramid over their maps of strides 4, 8, 16 and 32."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock

from distune.config.backbones import TIMM
from distune.config.detector import PyramidDetectorSettings
from distune.detectors.bodies import build_body, freeze, layers_of
from distune.detectors.norms import NormLayer, norm_layer
from distune.detectors.timm_body import build_timm_pyramid


def build_pyramid(
    settings: PyramidDetectorSettings,
    *,
    stages: Sequence[int],
    extra_blocks: ExtraFPNBlock | Callable[[int], ExtraFPNBlock],
    neck_norm: NormLayer | None = None,
    both_ends: bool = False,
) -> Any:
    """Build a backbone with a feature pyramid of ``settings.fpn_channels`` channels.

    Args:
        settings: backbone, its weights, its normalization and its trainable stages.
        stages: the stages that feed the pyramid, 1 to 4 for strides 4 to 32.
        extra_blocks: the block that adds the coarse maps; or a function that builds it from the channels of the last
            stage.
        neck_norm: normalization of the pyramid; None for none.
        both_ends: feed the map of each stage's first layer to the pyramid as well as that of its last.

    Returns:
        A module that maps images (B, 3, H, W) to a dictionary of maps, fine to coarse, of ``out_channels`` channels.

    Raises:
        ConfigError: a setting does not fit the backbone.
        WeightsError: ``settings.backbone_weights`` is unknown or does not fit.
    """
    if settings.backbone.startswith(TIMM):
        assert not both_ends, "the settings allow this with a MobileNet alone"
        return build_timm_pyramid(settings, stages=stages, extra_blocks=extra_blocks, neck_norm=neck_norm)
    body = build_body(settings.backbone, norm_layer(settings.norm, settings.epsilon), weights=settings.backbone_weights)
    layers = layers_of(body)
    freeze(body, layers, settings.trainable_stages)
    chosen = []
    for stage in stages:
        of_stage = [layer for layer in layers if layer.stage == stage]
        chosen += [of_stage[0], of_stage[-1]] if both_ends else [of_stage[-1]]
    return BackboneWithFPN(
        body,
        {layer.name: str(index) for index, layer in enumerate(chosen)},
        [layer.channels for layer in chosen],
        settings.fpn_channels,
        extra_blocks=extra_blocks if isinstance(extra_blocks, nn.Module) else extra_blocks(chosen[-1].channels),
        norm_layer=neck_norm,
    )
