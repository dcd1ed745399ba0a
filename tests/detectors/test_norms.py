"""Normalization layers."""

from __future__ import annotations

import torch
from torchvision.ops import FrozenBatchNorm2d

from distune.detectors.norms import FrozenNorm


def frozen(kind: type[FrozenBatchNorm2d]) -> FrozenBatchNorm2d:
    generator = torch.Generator().manual_seed(0)
    layer = kind(4, eps=1e-3)
    for buffer in layer.buffers():
        buffer.copy_(torch.rand(4, generator=generator) + 0.5)
    return layer


def test_frozen_batch_normalization_is_torchvisions() -> None:
    maps = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(1))
    assert torch.equal(frozen(FrozenNorm)(maps), frozen(FrozenBatchNorm2d)(maps))


def test_frozen_batch_normalization_keeps_the_precision_of_its_input() -> None:
    maps = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(1))
    low = frozen(FrozenNorm)(maps.bfloat16())
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), frozen(FrozenNorm)(maps), rtol=0.03, atol=0.03)
