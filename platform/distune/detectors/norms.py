"""Normalization layers by the names that settings use."""

from __future__ import annotations

import functools
from collections.abc import Callable

from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

NormLayer = Callable[[int], nn.Module]
"""From the number of channels to the layer."""
_MOST_GROUPS = 32


def norm_layer(kind: str, epsilon: float | None) -> NormLayer | None:
    """Return the factory of a backbone's normalization layers.

    Args:
        kind: ``batch``, ``frozen``, ``group`` or ``own``.
        epsilon: added to the variance; None only with ``own``.

    Returns:
        A function from channels to layer; None for ``own``, which keeps the backbone's layers.
    """
    if kind == "own":
        return None
    layers: dict[str, Callable[..., nn.Module]] = {
        "batch": nn.BatchNorm2d,
        "frozen": FrozenNorm,
        "group": group_norm,
    }
    return functools.partial(layers[kind], eps=epsilon)


class FrozenNorm(FrozenBatchNorm2d):  # type: ignore[misc]
    """torchvision's frozen batch normalization, in the precision of its input.

    torchvision's returns float32 for every input. Under autocast all maps of a backbone would take twice the memory.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return a map (B, D, H, W), in its own precision."""
        scale_D: Tensor = self.weight * (self.running_var + self.eps).rsqrt()
        shift_D: Tensor = self.bias - self.running_mean * scale_D
        return x * scale_D.to(x.dtype)[:, None, None] + shift_D.to(x.dtype)[:, None, None]


def group_norm(channels: int, eps: float = 1e-5) -> nn.Module:
    """Build a group normalization with as many groups as divide the channels: at most 32, of two channels or more."""
    most = max(1, min(_MOST_GROUPS, channels // 2))
    groups = next(count for count in range(most, 0, -1) if channels % count == 0)
    return nn.GroupNorm(groups, channels, eps=eps)


def head_norm_layer(kind: str) -> NormLayer:
    """Return the factory for neck and head: group normalization if the backbone has it, else batch normalization.

    Necks and heads are trained even if the backbone is frozen, so ``frozen`` also gives batch normalization.
    """
    return group_norm if kind == "group" else nn.BatchNorm2d
