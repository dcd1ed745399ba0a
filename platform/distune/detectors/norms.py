"""Normalisation layers, as the settings name them."""

from __future__ import annotations

import functools
from collections.abc import Callable

from torch import nn
from torchvision.ops import FrozenBatchNorm2d

NormLayer = Callable[[int], nn.Module]
"""From the number of channels to the layer."""
_MOST_GROUPS = 32


def norm_layer(kind: str, epsilon: float | None) -> NormLayer | None:
    """What builds the layers of a backbone; None where it keeps its own kind.

    Args:
        kind: ``batch``, ``frozen``, ``group`` or ``own``.
        epsilon: added to the variance; None only with ``own``.
    """
    if kind == "own":
        return None
    layers: dict[str, Callable[..., nn.Module]] = {
        "batch": nn.BatchNorm2d,
        "frozen": FrozenBatchNorm2d,
        "group": group_norm,
    }
    return functools.partial(layers[kind], eps=epsilon)


def group_norm(channels: int, eps: float = 1e-5) -> nn.Module:
    """Group normalisation in as many groups as divide the channels, at most 32 and of two channels at least."""
    most = max(1, min(_MOST_GROUPS, channels // 2))
    groups = next(count for count in range(most, 0, -1) if channels % count == 0)
    return nn.GroupNorm(groups, channels, eps=eps)


def head_norm_layer(kind: str) -> NormLayer:
    """What normalises a neck or a head beside a backbone of this kind: in groups beside such a one, else by batch.

    A neck and a head are trained also where the backbone is frozen.
    """
    return group_norm if kind == "group" else nn.BatchNorm2d
