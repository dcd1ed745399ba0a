"""Adapters from student channels to teacher channels, one per level. They are discarded after training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from distune.errors import ConfigError

_KERNEL_SIZES = {"conv1x1": 1, "conv3x3": 3}


def build_adapters(
    adapter: str,
    *,
    term: str,
    student_channels: Sequence[int],
    teacher_channels: Sequence[int],
    generator: torch.Generator,
) -> nn.ModuleList:
    """Build one adapter per level.

    Args:
        adapter: ``identity``, ``conv1x1`` or ``conv3x3``.
        term: name of the term, for the error.
        student_channels: input channels of each level.
        teacher_channels: output channels of each level.
        generator: of the initial weights: normal with variance 1 / fan-in, biases 0.

    Returns:
        One module per level.

    Raises:
        ConfigError: ``identity`` between different numbers of channels.
    """
    pairs = list(zip(student_channels, teacher_channels, strict=True))
    if adapter == "identity":
        unequal = [pair for pair in pairs if pair[0] != pair[1]]
        if unequal:
            problem = (
                f"{term}.adapter = identity  needs equal channels, but the student's neck has "
                f"{unequal[0][0]} and the teacher's {unequal[0][1]}; use conv1x1"
            )
            raise ConfigError("distillation", [problem])
        return nn.ModuleList(nn.Identity() for _ in pairs)
    kernel_size = _KERNEL_SIZES[adapter]
    return nn.ModuleList(_convolution(*pair, kernel_size, generator) for pair in pairs)


def build_linear_adapters(
    student_channels: Sequence[int], teacher_channels: Sequence[int], *, generator: torch.Generator
) -> nn.ModuleList:
    """Build one linear layer per level, for features instead of maps, with weights as in ``build_adapters``."""
    pairs = zip(student_channels, teacher_channels, strict=True)
    return nn.ModuleList(_layer(nn.Linear, *pair, generator=generator) for pair in pairs)


def _convolution(channels_in: int, channels_out: int, kernel_size: int, generator: torch.Generator) -> nn.Module:
    return _layer(nn.Conv2d, channels_in, channels_out, kernel_size, generator=generator, padding=kernel_size // 2)


def _layer(kind: type[nn.Module], *shape: int, generator: torch.Generator, **arguments: int) -> nn.Module:
    # skip_init: the layer's own initialization would draw from the global random numbers.
    layer: Any = nn.utils.skip_init(kind, *shape, **arguments)  # type: ignore[no-untyped-call]
    nn.init.kaiming_normal_(layer.weight, nonlinearity="linear", generator=generator)
    nn.init.zeros_(layer.bias)
    module: nn.Module = layer
    return module
