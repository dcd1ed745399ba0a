"""Source that builds the detector of each family with torchvision alone. A new family is one function and one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distune.config.detector import (
    FasterRcnnSettings,
    FcosSettings,
    MaskRcnnSettings,
    PyramidDetectorSettings,
    RetinaNetSettings,
    SsdliteSettings,
    SsdSettings,
    TwoStageSettings,
)
from distune.export.backbone_source import add_pyramid, head_norm, use_group_norm
from distune.export.source_code import SourceCode, call

_DETECTION = "torchvision.models.detection"
_IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
_ASPECT_RATIOS = (0.5, 1.0, 2.0)
_CHANNELS = 256
_BOX_HEAD_CHANNELS, _PROPOSALS, _POOLED_PX = 1024, 1000, 7
_NUM_SSD_MAPS = 6

AddFamily = Callable[[SourceCode, Any, Any, int], None]
"""Adds the lines that build ``model``: takes the source, the detector, its settings, the number of classes with
background."""


def _add_retinanet(code: SourceCode, model: Any, settings: RetinaNetSettings, num_labels: int) -> None:
    add_pyramid(code, model, settings)
    anchors = _anchors(code, model.anchor_generator) if settings.anchor_scale != 1 else None
    head = None
    if settings.head == "v2":
        code.use(f"{_DETECTION}.retinanet", "RetinaNetHead")
        num_anchors = model.anchor_generator.num_anchors_per_location()[0]
        head = call(
            "RetinaNetHead", model.backbone.out_channels, num_anchors, num_labels, norm_layer=use_group_norm(code)
        )
    code.use(_DETECTION, "RetinaNet")
    code.add(call("model = RetinaNet", "backbone", num_labels, **_resizing(model), anchor_generator=anchors, head=head))


def _add_fcos(code: SourceCode, model: Any, settings: FcosSettings, num_labels: int) -> None:
    add_pyramid(code, model, settings)
    anchors = _anchors(code, model.anchor_generator) if settings.anchor_scale != 1 else None
    code.use(_DETECTION, "FCOS")
    code.add(call("model = FCOS", "backbone", num_labels, **_resizing(model), anchor_generator=anchors))


def _add_fasterrcnn(code: SourceCode, model: Any, settings: FasterRcnnSettings, num_labels: int) -> None:
    code.use(_DETECTION, "FasterRCNN")
    parts = _two_stage_parts(code, model, settings, num_labels)
    code.add(call("model = FasterRCNN", "backbone", **parts))


def _add_maskrcnn(code: SourceCode, model: Any, settings: MaskRcnnSettings, num_labels: int) -> None:
    code.use(_DETECTION, "MaskRCNN")
    parts = _two_stage_parts(code, model, settings, num_labels)
    channels, is_v2 = settings.mask_head_channels, settings.head == "v2"
    if is_v2 or channels != _CHANNELS or "box_predictor" in parts:
        code.use(f"{_DETECTION}.mask_rcnn", "MaskRCNNHeads", "MaskRCNNPredictor")
        norm = head_norm(code, settings) if is_v2 else None
        layers = f"({channels}, {channels}, {channels}, {channels})"
        parts["mask_head"] = call("MaskRCNNHeads", model.backbone.out_channels, layers, 1, norm_layer=norm)
        parts["mask_predictor"] = call("MaskRCNNPredictor", channels, channels, num_labels)
    code.add(call("model = MaskRCNN", "backbone", **parts))


def _add_ssd(code: SourceCode, model: Any, settings: SsdSettings, num_labels: int) -> None:
    code.use("torchvision.models", "vgg16")
    code.use(f"{_DETECTION}.ssd", "SSD", "SSDFeatureExtractorVGG")
    code.use(f"{_DETECTION}.anchor_utils", "DefaultBoxGenerator")
    code.add("backbone = SSDFeatureExtractorVGG(vgg16().features, highres=False)")
    generator = model.anchor_generator
    num_maps = len(generator.aspect_ratios)
    if num_maps < _NUM_SSD_MAPS:
        code.add(f"backbone.extra = backbone.extra[:{num_maps - 1}]")
    code.add(
        call("anchors = DefaultBoxGenerator", generator.aspect_ratios, scales=generator.scales, steps=generator.steps)
    )
    side = settings.input_size_px
    code.add(
        call("model = SSD", "backbone", "anchors", f"({side}, {side})", num_labels, **_statistics(model, default={}))
    )


def _add_ssdlite(code: SourceCode, model: Any, settings: SsdliteSettings, num_labels: int) -> None:
    code.use("functools", "partial")
    code.use("torch", "nn")
    code.use("torchvision.models", settings.backbone)
    code.use(f"{_DETECTION}.anchor_utils", "DefaultBoxGenerator")
    code.use(f"{_DETECTION}.ssd", "SSD")
    code.use(f"{_DETECTION}.ssdlite", "SSDLiteFeatureExtractorMobileNet", "SSDLiteHead")
    code.add("norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)")
    tail = "True" if settings.reduce_tail else None
    code.add(call(f"layers = {settings.backbone}", norm_layer="norm", reduced_tail=tail) + ".features")
    split = len(model.backbone.features[0]) - 1
    code.add(f"backbone = SSDLiteFeatureExtractorMobileNet(layers, {split}, norm)")
    code.add("anchors = DefaultBoxGenerator([[2, 3]] * 6, min_ratio=0.2, max_ratio=0.95)")
    channels = [each[0][0].in_channels for each in model.head.classification_head.module_list]
    code.add(call("head = SSDLiteHead", channels, "anchors.num_anchors_per_location()", num_labels, "norm"))
    side = settings.input_size_px
    code.add(
        call(
            "model = SSD",
            "backbone",
            "anchors",
            f"({side}, {side})",
            num_labels,
            head="head",
            **_statistics(model, default={}),
            score_thresh=model.score_thresh,
            nms_thresh=model.nms_thresh,
            detections_per_img=model.detections_per_img,
            topk_candidates=model.topk_candidates,
        )
    )


FAMILY_SOURCES: dict[str, AddFamily] = {
    "fasterrcnn": _add_fasterrcnn,
    "fcos": _add_fcos,
    "maskrcnn": _add_maskrcnn,
    "retinanet": _add_retinanet,
    "ssd": _add_ssd,
    "ssdlite": _add_ssdlite,
}


def _two_stage_parts(code: SourceCode, model: Any, settings: TwoStageSettings, num_labels: int) -> dict[str, Any]:
    """Return the arguments that differ from torchvision's defaults."""
    add_pyramid(code, model, settings)
    channels, width = settings.fpn_channels, settings.box_head_channels
    is_v2 = settings.head == "v2"
    parts: dict[str, Any] = _resizing(model)
    if settings.anchor_scale != 1 or settings.levels == "last":
        parts["rpn_anchor_generator"] = _anchors(code, model.rpn.anchor_generator)
    if is_v2:
        code.use(f"{_DETECTION}.rpn", "RPNHead")
        num_anchors = model.rpn.anchor_generator.num_anchors_per_location()[0]
        parts["rpn_head"] = call("RPNHead", channels, num_anchors, conv_depth=2)
    if settings.evaluated_proposals != _PROPOSALS:
        parts["rpn_pre_nms_top_n_test"] = parts["rpn_post_nms_top_n_test"] = settings.evaluated_proposals
    if settings.min_proposal_score:
        parts["rpn_score_thresh"] = settings.min_proposal_score
    if not is_v2 and width == _BOX_HEAD_CHANNELS:
        return {"num_classes": num_labels, **parts}
    if is_v2:
        code.use(f"{_DETECTION}.faster_rcnn", "FastRCNNConvFCHead")
        size = f"({channels}, {_POOLED_PX}, {_POOLED_PX})"
        norm = head_norm(code, settings)
        parts["box_head"] = call("FastRCNNConvFCHead", size, f"[{channels}] * 4", [width], norm_layer=norm)
    else:
        code.use(f"{_DETECTION}.faster_rcnn", "TwoMLPHead")
        parts["box_head"] = call("TwoMLPHead", f"{channels} * {_POOLED_PX}**2", width)
    code.use(f"{_DETECTION}.faster_rcnn", "FastRCNNPredictor")
    parts["box_predictor"] = call("FastRCNNPredictor", width, num_labels)
    return parts


def _anchors(code: SourceCode, generator: Any) -> str:
    """Add the anchors, and return their name."""
    code.use(f"{_DETECTION}.anchor_utils", "AnchorGenerator")
    ratios = "(1.0,)" if len(generator.aspect_ratios[0]) == 1 else str(_ASPECT_RATIOS)
    levels = len(generator.sizes)
    code.add("sizes = (" + ", ".join(str(tuple(each)) for each in generator.sizes) + ("," if levels == 1 else "") + ")")
    code.add(f"anchors = AnchorGenerator(sizes, ({ratios},) * {levels})")
    return "anchors"


def _resizing(model: Any) -> dict[str, Any]:
    transform = model.transform
    return {
        "min_size": transform.min_size[-1],
        "max_size": transform.max_size,
        **_statistics(model, default=_IMAGENET),
    }


def _statistics(model: Any, *, default: dict[str, list[float]]) -> dict[str, Any]:
    """Return mean and standard deviation of the input where they differ from torchvision's defaults."""
    values = {name: list(getattr(model.transform, name)) for name in _IMAGENET}
    return {name: value for name, value in values.items() if value != default.get(name)}


def needs_timm(settings: Any) -> bool:
    """Return whether the detector's backbone is one of timm's."""
    return isinstance(settings, PyramidDetectorSettings) and settings.backbone.startswith("timm/")
