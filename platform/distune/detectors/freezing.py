"""Freezing of the first stages of a sequential backbone."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


def freeze_before(layers: nn.Sequential, stage_starts: Sequence[int], trainable_stages: int) -> None:
    """Freeze all layers except those of the last stages.

    Args:
        layers: the backbone.
        stage_starts: index of the first layer of each stage.
        trainable_stages: number of stages that stay trainable, counted from the last.
    """
    first_trained = len(layers) if trainable_stages == 0 else stage_starts[len(stage_starts) - trainable_stages]
    for layer in layers[:first_trained]:
        layer.requires_grad_(False)
