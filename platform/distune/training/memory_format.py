"""The memory format of a model's weights and maps: the one in which its convolutions are faster."""

from __future__ import annotations

import torch
from torch import nn


def to_fast_format(model: nn.Module, device: torch.device) -> None:
    """Move a model to a device, in the memory format of ``fast_format``."""
    model.to(device, memory_format=fast_format(model, device))  # type: ignore[call-overload]


def fast_format(model: nn.Module, device: torch.device) -> torch.memory_format:
    """Return the faster memory format: channels last on a GPU and for depthwise convolutions, contiguous otherwise.

    On a CPU oneDNN computes depthwise convolutions faster in channels last, and other convolutions faster in the
    contiguous format: ``benchmarks/memory_format.py``. Both formats in one model cost a conversion between layers.
    """
    has_depthwise = any(_is_depthwise(each) for each in model.modules())
    return torch.channels_last if device.type != "cpu" or has_depthwise else torch.contiguous_format


def _is_depthwise(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1
