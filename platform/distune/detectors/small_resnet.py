"""ResNets of basic blocks with fewer blocks or channels than torchvision's."""

from __future__ import annotations

from typing import Any

from torchvision.models.resnet import BasicBlock, ResNet

from distune.detectors.norms import NormLayer


class SmallResNet(ResNet):  # type: ignore[misc]
    """A ResNet of basic blocks, built by torchvision, whose stages have fewer channels. The stem keeps its 64.

    Args:
        blocks: number of blocks in each of the four stages; ResNet-18 has 2.
        divisor: of the channels of the stages, which are 64, 128, 256 and 512 in ResNet-18.
        norm_layer: None is batch norm.
    """

    def __init__(self, blocks: int, divisor: int, *, norm_layer: NormLayer | None = None) -> None:
        self._divisor = divisor
        super().__init__(BasicBlock, [blocks] * 4, norm_layer=norm_layer)

    def _make_layer(self, block: Any, planes: int, *arguments: Any, **keywords: Any) -> Any:
        return super()._make_layer(block, planes // self._divisor, *arguments, **keywords)
