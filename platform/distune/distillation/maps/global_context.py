"""The context block: one context vector per image, transformed and added to every cell of a map.

Shape legend: ``B`` batch, ``E`` channels, ``H`` ``W`` a map, ``K`` channels of the bottleneck.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

_BOTTLENECK = 2


class ContextRelation(nn.Module):
    """``R(F) = F + V relu(LN(U sum_c softmax_c(k . F_c) F_c))``, with cells c and K = E / 2 channels after U.

    The context block of Cao et al., "GCNet", ICCV workshops 2019, arXiv 1904.11492, as arXiv 2111.11837 uses it. V and
    its bias start at zero, so that R starts as the identity.

    Args:
        channels: E.
        generator: of the initial weights of k and U: normal with variance 1 / fan-in, biases 0.
    """

    def __init__(self, channels: int, *, generator: torch.Generator) -> None:
        super().__init__()
        narrow = max(1, channels // _BOTTLENECK)
        self.key = nn.Parameter(_normal((channels,), channels, generator))
        self.squeeze = nn.Parameter(_normal((narrow, channels), channels, generator))
        self.squeeze_bias = nn.Parameter(torch.zeros(narrow))
        self.norm = nn.LayerNorm(narrow)
        self.expand = nn.Parameter(torch.zeros(channels, narrow))
        self.expand_bias = nn.Parameter(torch.zeros(channels))

    def forward(self, map_BEHW: Tensor, valid_BHW: Tensor | None = None) -> Tensor:
        """Return R(F), (B, E, H, W), with the context of the valid cells, at least one per image; None takes all."""
        cells_BEC = map_BEHW.flatten(2)
        logits_BC = torch.einsum("e,bec->bc", self.key, cells_BEC)
        if valid_BHW is not None:
            logits_BC = logits_BC.masked_fill(~valid_BHW.flatten(1), -torch.inf)
        attention_BC = logits_BC.softmax(dim=1)
        context_BE = torch.einsum("bc,bec->be", attention_BC, cells_BEC)
        narrow_BK = self.norm(functional.linear(context_BE, self.squeeze, self.squeeze_bias)).relu()
        added_BE = functional.linear(narrow_BK, self.expand, self.expand_bias)
        related_BEHW: Tensor = map_BEHW + added_BE[:, :, None, None]
        return related_BEHW


def _normal(shape: tuple[int, ...], fan_in: int, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator) / math.sqrt(fan_in)
