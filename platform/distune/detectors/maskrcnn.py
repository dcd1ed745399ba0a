"""Mask R-CNN (He et al., ICCV 2017, arXiv 1703.06870) with a feature pyramid, from torchvision, with taps."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor

from distune.config.detector import MaskRcnnSettings
from distune.detectors.norms import head_norm_layer
from distune.detectors.twostage import CLASS_PARAMETERS, TwoStageDetector, shared_parts

REPLACEABLE = (*CLASS_PARAMETERS, "roi_heads.mask_predictor.mask_fcn_logits.")
"""The parameters that depend on the classes."""
_NUM_CONVOLUTIONS = 4


def build_maskrcnn(
    settings: MaskRcnnSettings, *, num_classes: int, min_size_px: int, max_size_px: int
) -> TwoStageDetector:
    """Build a Mask R-CNN with taps: strides 4 to 64, softmax scores at proposals."""
    channels = settings.mask_head_channels
    mask_predictor: Callable[[int, int, int], nn.Module] = MaskRCNNPredictor
    model = MaskRCNN(
        **shared_parts(settings, num_classes=num_classes, min_size_px=min_size_px, max_size_px=max_size_px),
        mask_head=MaskRCNNHeads(
            settings.fpn_channels,
            (channels,) * _NUM_CONVOLUTIONS,
            1,
            norm_layer=head_norm_layer(settings.norm) if settings.head == "v2" else None,
        ),
        mask_predictor=mask_predictor(channels, channels, num_classes + 1),
    )
    return TwoStageDetector(model, family="maskrcnn")


@contextlib.contextmanager
def boxes_only(model: nn.Module) -> Iterator[None]:
    """Disable the mask head of a Mask R-CNN inside the block, which saves most time and memory of evaluation.

    Other models are not changed.
    """
    heads: Any = getattr(model, "roi_heads", None)
    if heads is None or not heads.has_mask():
        yield
        return
    pool, heads.mask_roi_pool = heads.mask_roi_pool, None
    try:
        yield
    finally:
        heads.mask_roi_pool = pool
