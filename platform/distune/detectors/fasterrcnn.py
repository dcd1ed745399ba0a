"""Faster R-CNN (Ren et al., NeurIPS 2015, arXiv 1506.01497) with a feature pyramid, from torchvision, with taps."""

from __future__ import annotations

from torchvision.models.detection import FasterRCNN

from distune.config.detector import FasterRcnnSettings
from distune.detectors.twostage import CLASS_PARAMETERS, TwoStageDetector, shared_parts

REPLACEABLE = CLASS_PARAMETERS
"""The parameters that depend on the classes."""


def build_fasterrcnn(
    settings: FasterRcnnSettings, *, num_classes: int, min_size_px: int, max_size_px: int
) -> TwoStageDetector:
    """Build a Faster R-CNN with taps: strides 4 to 64, softmax scores at proposals."""
    model = FasterRCNN(
        **shared_parts(settings, num_classes=num_classes, min_size_px=min_size_px, max_size_px=max_size_px)
    )
    return TwoStageDetector(model, family="fasterrcnn")
