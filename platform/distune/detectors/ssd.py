"""SSD (Liu et al., ECCV 2016, arXiv 1512.02325) from torchvision, with taps."""

from __future__ import annotations

from typing import Any

from torch import nn
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD, SSDFeatureExtractorVGG, SSDHead
from torchvision.models.vgg import cfgs, make_layers

from distune.config.detector import SsdSettings
from distune.detectors.freezing import freeze_before
from distune.detectors.onestage import OneStageDetector, Rules, match_by_overlap
from distune.detectors.weights import fetch_weights, load_state

REPLACEABLE = ("head.classification_head.",)
"""The parameters that depend on the classes."""
_CHANNELS = (512, 1024, 512, 256, 256, 256)
_ASPECT_RATIOS = ([2], [2, 3], [2, 3], [2, 3], [2], [2])
_STRIDES_PX = (8, 16, 32, 64)
_FINEST_SCALE, _FIRST_SCALE, _LAST_SCALE = 0.07, 0.15, 1.05
_CLASSIFIER = ("classifier.",)
"""The prefix of parameters that only the classifier has; in torchvision's ``IMAGENET1K_FEATURES`` they are NaN."""
_MEAN, _STD = (0.48235, 0.45882, 0.40784), (1 / 255, 1 / 255, 1 / 255)


def build_ssd(settings: SsdSettings, *, num_classes: int, **_: int) -> OneStageDetector:
    """Build an SSD with taps: softmax scores at default boxes.

    The neck is the maps of strides 8 to 64. The coarser maps come from convolutions without padding, so their cells do
    not lie on a stride grid: the head uses them, but distillation does not. Images are resized to squares of
    ``settings.input_size_px``, independent of the size for the other families.
    """
    size_px = settings.input_size_px
    maps = map_sides(size_px)
    steps = [*_STRIDES_PX, *(size_px / side for side in maps[len(_STRIDES_PX) :])]
    anchors = DefaultBoxGenerator(list(_ASPECT_RATIOS[: len(maps)]), scales=scales(len(maps)), steps=steps)
    head = SSDHead(list(_CHANNELS[: len(maps)]), anchors.num_anchors_per_location(), num_classes + 1)
    model: Any = SSD(
        _backbone(settings, num_maps=len(maps)),
        anchors,
        (size_px, size_px),
        num_classes + 1,
        head=head,
        image_mean=list(_MEAN),
        image_std=list(_STD),
    )
    rules = Rules(
        match=match_by_overlap(model),
        compute_loss=model.compute_loss,
        decode=model.box_coder.decode_single,
        num_neck_maps=len(_STRIDES_PX),
    )
    base_size_px = _FINEST_SCALE * size_px * 4 / _STRIDES_PX[0]
    return OneStageDetector(model, family="ssd", score_kind="softmax", base_size_px=base_size_px, rules=rules)


def map_sides(size_px: int) -> list[int]:
    """Return the sides, in cells, of the maps of an image of this size; maps without a cell are left out."""
    sides = [-(-(size_px // 4) // 2)]
    sides.append(sides[-1] // 2)
    sides.append((sides[-1] + 1) // 2)
    sides.append((sides[-1] + 1) // 2)
    while len(sides) < len(_CHANNELS) and sides[-1] > 2:
        sides.append(sides[-1] - 2)
    return sides


def scales(num_maps: int) -> list[float]:
    """Return the sizes of default boxes as fractions of the image, one per map and one more.

    Six maps give those of SSD300. With fewer maps the same range is divided among them.
    """
    step = (_LAST_SCALE - _FIRST_SCALE) / (num_maps - 1)
    return [_FINEST_SCALE, *(round(_FIRST_SCALE + step * index, 6) for index in range(num_maps))]


def _backbone(settings: SsdSettings, *, num_maps: int) -> nn.Module:
    layers = make_layers(cfgs["D"])
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    if settings.backbone_weights is not None:
        weights = fetch_weights(settings.backbone_weights, unused=_CLASSIFIER)
        holder = nn.ModuleDict({"features": layers})
        load_state(holder, weights.state, source=settings.backbone_weights, replaceable=_CLASSIFIER)
    pools = [index for index, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    freeze_before(layers, [0, *pools[:-1]], settings.trainable_stages)
    extractor: Any = SSDFeatureExtractorVGG(layers, highres=False)
    extractor.extra = extractor.extra[: num_maps - 1]
    module: nn.Module = extractor
    return module
