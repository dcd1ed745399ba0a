"""SSDlite (Sandler et al., CVPR 2018, arXiv 1801.04381, section 6.2) on MobileNetV3, from torchvision, with taps."""

from __future__ import annotations

import functools
from typing import Any

from torch import nn
from torchvision.models import get_model
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.ssdlite import SSDLiteFeatureExtractorMobileNet, SSDLiteHead

from distune.config.detector import SsdliteSettings
from distune.detectors.freezing import freeze_before
from distune.detectors.onestage import OneStageDetector, Rules, match_by_overlap
from distune.detectors.weights import fetch_weights, load_state

_NUM_MAPS = 6
REPLACEABLE = tuple(f"head.classification_head.module_list.{index}.1." for index in range(_NUM_MAPS))
"""The parameters that depend on the classes."""
_CLASSIFIER = ("classifier.",)
"""The prefix of parameters that only the classifier has."""
_EXTRA_CHANNELS = (512, 256, 256, 128)
_MEAN = _STD = (0.5, 0.5, 0.5)
_INITIAL_SPREAD = 0.03
_SCALE_ON_STRIDE_32 = 0.3
"""Box size, as a fraction of the image, from which boxes are matched on stride 32: between default boxes of 0.26 and
0.35. Default boxes less than double from level to level, so coarser levels start at smaller boxes than that."""


def build_ssdlite(settings: SsdliteSettings, *, num_classes: int, **_: int) -> OneStageDetector:
    """Build an SSDlite with taps: strides 16 to 512, softmax scores at default boxes.

    Images are resized to squares of ``settings.input_size_px``, independent of the size for the other families.
    """
    norm_layer = functools.partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)
    layers, stage_starts = _mobilenet(settings, norm_layer)
    anchors = DefaultBoxGenerator([[2, 3] for _ in range(_NUM_MAPS)], min_ratio=0.2, max_ratio=0.95)
    parts: Any = layers
    channels = [parts[stage_starts[-2]].block[0].out_channels, parts[-1].out_channels, *_EXTRA_CHANNELS]
    model: Any = SSD(
        SSDLiteFeatureExtractorMobileNet(layers, stage_starts[-2], norm_layer),
        anchors,
        (settings.input_size_px, settings.input_size_px),
        num_classes + 1,
        head=SSDLiteHead(channels, anchors.num_anchors_per_location(), num_classes + 1, norm_layer),
        image_mean=list(_MEAN),
        image_std=list(_STD),
        score_thresh=0.001,
        nms_thresh=0.55,
        detections_per_img=300,
        topk_candidates=300,
    )
    rules = Rules(match=match_by_overlap(model), compute_loss=model.compute_loss, decode=model.box_coder.decode_single)
    base_size_px = _SCALE_ON_STRIDE_32 * settings.input_size_px * 4 / 32
    return OneStageDetector(model, family="ssdlite", score_kind="softmax", base_size_px=base_size_px, rules=rules)


def _mobilenet(settings: SsdliteSettings, norm_layer: Any) -> tuple[nn.Sequential, list[int]]:
    """Build the layers of a MobileNetV3 without its classifier; also return where its six stages start."""
    mobilenet: Any = get_model(
        settings.backbone, weights=None, norm_layer=norm_layer, reduced_tail=settings.reduce_tail
    )
    if settings.backbone_weights is None:
        for module in mobilenet.features.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=_INITIAL_SPREAD)
    else:
        weights = fetch_weights(settings.backbone_weights, unused=_CLASSIFIER)
        load_state(mobilenet, weights.state, source=settings.backbone_weights, replaceable=_CLASSIFIER)
    layers: nn.Sequential = mobilenet.features
    strided = [index for index, layer in enumerate(layers) if getattr(layer, "_is_cn", False)]
    stage_starts = [0, *strided, len(layers) - 1]
    freeze_before(layers, stage_starts, settings.trainable_stages)
    return layers, stage_starts
