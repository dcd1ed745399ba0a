"""The common part of the two-stage families: a proposal network, and heads on its proposals.

Shape legend: ``r`` sampled proposals of the whole batch, ``C`` classes without background, ``K`` = 4 times C + 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import fastrcnn_loss, maskrcnn_loss
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from distune.config.detector import TwoStageSettings
from distune.detectors.backbone import build_pyramid
from distune.detectors.batch_parts import losses_of_whole, pad_as_whole
from distune.detectors.exact_boxes import cast_two_stage_to_float32
from distune.detectors.levels import by_stride
from distune.detectors.modes import eval_without_grad
from distune.detectors.norms import head_norm_layer
from distune.detectors.proposals import outputs_at_proposals, positive_proposals
from distune.detectors.taps import Frame, Instances, StudentTaps, TeacherMaps, TeacherTaps, View, frame_of

CLASS_PARAMETERS = ("roi_heads.box_predictor.",)
"""The parameters of the common part that depend on the classes."""
_POOLED_PX = 7
_BASE_SIZE_PX = 56.0
"""The box head pools boxes of 224 px from stride 16 (Lin et al., "Feature Pyramid Networks", CVPR 2017, eq. 1)."""


def shared_parts(settings: TwoStageSettings, *, num_classes: int, min_size_px: int, max_size_px: int) -> dict[str, Any]:
    """Return the arguments that torchvision's two-stage models share. Strides 4 to 64, or 32 and 64."""
    predictor: Callable[[int, int], nn.Module] = FastRCNNPredictor
    anchors = _anchors(settings)
    is_v2 = settings.head == "v2"
    has_last_only = settings.levels == "last"
    return {
        "backbone": build_pyramid(
            settings,
            stages=(4,) if has_last_only else (1, 2, 3, 4),
            extra_blocks=LastLevelMaxPool(),
            neck_norm=head_norm_layer(settings.norm) if is_v2 else None,
            both_ends=has_last_only,
        ),
        "min_size": min_size_px,
        "max_size": max_size_px,
        "rpn_anchor_generator": anchors,
        "rpn_head": RPNHead(settings.fpn_channels, anchors.num_anchors_per_location()[0], conv_depth=2 if is_v2 else 1),
        "rpn_pre_nms_top_n_test": settings.evaluated_proposals,
        "rpn_post_nms_top_n_test": settings.evaluated_proposals,
        "rpn_score_thresh": settings.min_proposal_score,
        "box_head": _box_head(settings),
        "box_predictor": predictor(settings.box_head_channels, num_classes + 1),
        "box_batch_size_per_image": settings.proposals_per_image,
    }


def neck_maps(features: dict[str, Tensor]) -> list[Tensor]:
    """Return the maps of distinct strides, fine to coarse. Of two maps of one stride the box head uses the first."""
    return [each for name, each in features.items() if not (name == "1" and "2" not in features)]


class TwoStageDetector:
    """A torchvision two-stage detector with taps, softmax scores at proposals; see ``Detector``.

    Args:
        model: a Faster R-CNN, or one with a mask head.
        family: its name.
    """

    score_kind = "softmax"
    base_size_px = _BASE_SIZE_PX

    def __init__(self, model: Any, *, family: str) -> None:
        self.model: nn.Module = model
        self.family = family
        self._parts: Any = model
        cast_two_stage_to_float32(model)

    def forward_train(self, images: list[Tensor], targets: list[dict[str, Tensor]]) -> StudentTaps:
        """See ``Detector.forward_train``. With a mask head targets hold ``masks``, uint8 (n, h, w), as well."""
        model = self._parts
        batch, resized = model.transform(images, targets)
        batch = pad_as_whole(batch)
        instances = Instances.of(resized, frame_of(batch))
        features = model.backbone(batch.tensors)
        proposals, losses = model.rpn(batch, features, resized)
        heads = model.roi_heads
        proposals, matched, labels, regression_targets = heads.select_training_samples(proposals, resized)
        pooled = heads.box_roi_pool(features, proposals, batch.image_sizes)
        logits_rC, deltas_rK = heads.box_predictor(heads.box_head(pooled))
        loss_classifier, loss_box_reg = fastrcnn_loss(logits_rC, deltas_rK, labels, regression_targets)
        losses = {**losses, "loss_classifier": loss_classifier, "loss_box_reg": loss_box_reg}
        if heads.has_mask():
            losses["loss_mask"] = _mask_loss(heads, features, batch, resized, proposals, labels, matched)
        return StudentTaps(
            losses=losses_of_whole(losses, lambda name: _divisor(name, labels)),
            neck=by_stride(neck_maps(features), instances.frame),
            prediction_sites=positive_proposals(heads, logits_rC, deltas_rK, proposals, labels, matched, instances),
            instances=instances,
        )

    def forward_teacher(self, images: list[Tensor]) -> TeacherTaps:
        """See ``Detector.forward_teacher``."""
        return self.taps_of(self.teacher_maps(images))

    def teacher_maps(self, images: list[Tensor]) -> TeacherMaps:
        """See ``Detector.teacher_maps``."""
        with eval_without_grad(self.model):
            _, frame, features = self._features(images, is_part=True)
        return TeacherMaps(features, frame)

    def taps_of(self, maps: TeacherMaps) -> TeacherTaps:
        """See ``Detector.taps_of``."""
        features, frame = maps.features, maps.frame
        return TeacherTaps(
            View(by_stride(neck_maps(features), frame), frame),
            *outputs_at_proposals(self.model, features, list(frame.image_sizes)),
        )

    def neck_only(self, images: list[Tensor]) -> View:
        """See ``Detector.neck_only``."""
        with eval_without_grad(self.model):
            _, frame, features = self._features(images)
        return View(by_stride(neck_maps(features), frame), frame)

    def _features(self, images: list[Tensor], *, is_part: bool = False) -> tuple[ImageList, Frame, dict[str, Tensor]]:
        batch, _ = self._parts.transform(images)
        batch = pad_as_whole(batch) if is_part else batch
        return batch, frame_of(batch), self._parts.backbone(batch.tensors)


def _divisor(name: str, labels: list[Tensor]) -> Tensor | int:
    """Return the number by which torchvision has divided a loss.

    That of the proposal network is the number of its sampled anchors, which is not known here: 256 for each image with
    as many anchors.

    Args:
        name: of the loss.
        labels: of the sampled proposals of each image.

    Returns:
        The number.
    """
    if name == "loss_mask":
        return torch.cat(labels).count_nonzero()
    return sum(map(len, labels)) if name in ("loss_classifier", "loss_box_reg") else len(labels)


def _anchors(settings: TwoStageSettings) -> AnchorGenerator:
    sizes = tuple(settings.anchor_scale * size for size in (32, 64, 128, 256, 512))
    by_level = (sizes,) * 3 if settings.levels == "last" else tuple((size,) for size in sizes)
    return AnchorGenerator(by_level, ((0.5, 1.0, 2.0),) * len(by_level))


def _box_head(settings: TwoStageSettings) -> nn.Module:
    channels, width = settings.fpn_channels, settings.box_head_channels
    head: nn.Module
    if settings.head == "v1":
        head = TwoMLPHead(channels * _POOLED_PX**2, width)
    else:
        head = FastRCNNConvFCHead(
            (channels, _POOLED_PX, _POOLED_PX), [channels] * 4, [width], norm_layer=head_norm_layer(settings.norm)
        )
    return head


def _mask_loss(
    heads: Any,
    features: dict[str, Tensor],
    batch: ImageList,
    targets: list[dict[str, Tensor]],
    proposals: list[Tensor],
    labels: list[Tensor],
    matched: list[Tensor],
) -> Tensor:
    """Compute torchvision's mask loss on positive proposals only. Waits for the device, to get their number."""
    rows = [torch.where(labels_p > 0)[0] for labels_p in labels]
    positive = [boxes_p4[row_k] for boxes_p4, row_k in zip(proposals, rows, strict=True)]
    pooled = heads.mask_roi_pool(features, positive, batch.image_sizes)
    logits = heads.mask_predictor(heads.mask_head(pooled))
    loss: Tensor = maskrcnn_loss(
        logits,
        positive,
        [target["masks"] for target in targets],
        [target["labels"] for target in targets],
        [matched_p[row_k] for matched_p, row_k in zip(matched, rows, strict=True)],
    )
    return loss
