"""RetinaNet (Lin et al., ICCV 2017, arXiv 1708.02002) from torchvision, with taps."""

from __future__ import annotations

from typing import Any

from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.retinanet import RetinaNet, RetinaNetHead
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from distune.config.detector import RetinaNetSettings
from distune.detectors.backbone import build_pyramid
from distune.detectors.norms import group_norm
from distune.detectors.onestage import OneStageDetector, Rules, match_by_overlap

REPLACEABLE = ("head.classification_head.cls_logits.",)
"""The parameters that depend on the classes."""
_FINEST_ANCHOR_PX, _NUM_LEVELS = 32, 5


def build_retinanet(
    settings: RetinaNetSettings, *, num_classes: int, min_size_px: int, max_size_px: int
) -> OneStageDetector:
    """Build a RetinaNet with taps: strides 8 to 128, sigmoid scores at anchors.

    With head v2, torchvision's ``LastLevelP6P7`` computes the maps of strides 64 and 128 from the last map of the
    backbone, unless that has as many channels as the neck: then from the last map of the neck, as with v1.
    """
    channels = settings.fpn_channels
    is_v2 = settings.head == "v2"
    anchors = _anchors(settings.anchor_scale)
    pyramid = build_pyramid(
        settings,
        stages=(2, 3, 4),
        extra_blocks=lambda last: LastLevelP6P7(last if is_v2 else channels, channels),
    )
    head = RetinaNetHead(
        channels,
        anchors.num_anchors_per_location()[0],
        num_classes + 1,
        norm_layer=group_norm if is_v2 else None,
    )
    if is_v2:
        head.regression_head._loss_type = "giou"
    model: Any = RetinaNet(
        pyramid,
        num_classes + 1,
        min_size=min_size_px,
        max_size=max_size_px,
        anchor_generator=anchors,
        head=head,
    )
    rules = Rules(
        match=match_by_overlap(model),
        compute_loss=model.head.compute_loss,
        decode=model.box_coder.decode_single,
        is_mean_over_images=True,
    )
    # The finest anchors have 32 px, times the scale, on stride 8.
    base_size_px = _FINEST_ANCHOR_PX / 2 * settings.anchor_scale
    return OneStageDetector(model, family="retinanet", score_kind="sigmoid", base_size_px=base_size_px, rules=rules)


def _anchors(scale: float) -> AnchorGenerator:
    """Return torchvision's anchors of RetinaNet, times ``scale``."""
    sizes = tuple(
        tuple(scale * size for size in (base, int(base * 2 ** (1 / 3)), int(base * 2 ** (2 / 3))))
        for base in (_FINEST_ANCHOR_PX * 2**level for level in range(_NUM_LEVELS))
    )
    return AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes))
