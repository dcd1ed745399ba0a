"""Faster R-CNN (Ren et al., NeurIPS 2015, arXiv 1506.01497) with a feature pyramid, of torchvision, with taps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import fastrcnn_loss
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from distune.config.detector import FasterRcnnSettings
from distune.detectors.backbone import build_pyramid
from distune.detectors.exact_boxes import Float32AnchorGenerator, answer_in_float32
from distune.detectors.levels import by_stride
from distune.detectors.modes import observing
from distune.detectors.taps import ClassScores, Instances, NeckMaps, StudentTaps, TeacherTaps

REPLACEABLE = ("roi_heads.box_predictor.",)
"""The parameters that depend on the classes."""
_POOLED_CELLS = 7 * 7


class FasterRcnnDetector:
    """A Faster R-CNN with taps. Strides 4 to 64, softmax scores at proposals."""

    family = "fasterrcnn"
    score_kind = "softmax"

    def __init__(self, settings: FasterRcnnSettings, *, num_classes: int, min_size_px: int, max_size_px: int) -> None:
        self.channels = settings.fpn_channels
        pyramid = build_pyramid(settings, stages=(1, 2, 3, 4), extra_blocks=LastLevelMaxPool())
        predictor: Callable[[int, int], nn.Module] = FastRCNNPredictor
        sizes = tuple((settings.anchor_scale * size,) for size in (32, 64, 128, 256, 512))
        self._parts: Any = FasterRCNN(
            pyramid,
            min_size=min_size_px,
            max_size=max_size_px,
            rpn_anchor_generator=Float32AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes)),
            box_head=TwoMLPHead(settings.fpn_channels * _POOLED_CELLS, settings.box_head_channels),
            box_predictor=predictor(settings.box_head_channels, num_classes + 1),
            box_batch_size_per_image=settings.proposals_per_image,
        )
        answer_in_float32(self._parts.rpn.head)
        answer_in_float32(self._parts.roi_heads.box_predictor)
        self.model: nn.Module = self._parts

    def learn(self, images: list[Tensor], targets: list[dict[str, Tensor]]) -> StudentTaps:
        """See ``Detector.learn``."""
        model = self._parts
        batch, resized = model.transform(images, targets)
        size = (int(batch.tensors.shape[-2]), int(batch.tensors.shape[-1]))
        features = model.backbone(batch.tensors)
        proposals, losses = model.rpn(batch, features, resized)
        heads = model.roi_heads
        proposals, matched, labels, regression_targets = heads.select_training_samples(proposals, resized)
        pooled = heads.box_roi_pool(features, proposals, batch.image_sizes)
        logits_rc, regression = heads.box_predictor(heads.box_head(pooled))
        loss_classifier, loss_box_reg = fastrcnn_loss(logits_rc, regression, labels, regression_targets)
        instances = Instances.of(resized, size)
        return StudentTaps(
            losses={**losses, "loss_classifier": loss_classifier, "loss_box_reg": loss_box_reg},
            neck=by_stride(features.values(), size),
            scores=_scores(logits_rc, proposals, labels, matched, instances.counts),
            instances=instances,
        )

    def observe(self, images: list[Tensor]) -> TeacherTaps:
        """See ``Detector.observe``."""
        with observing(self.model):
            batch, size, features = self._features(images)
        heads = self._parts.roi_heads

        def logits_at(scores: ClassScores) -> Tensor:
            assert scores.proposals is not None, "a two-stage teacher scores proposals"
            with observing(self.model):
                pooled = heads.box_roi_pool(features, scores.proposals, batch.image_sizes)
                logits_rc: Tensor = heads.box_predictor(heads.box_head(pooled))[0]
            assert logits_rc.shape == scores.logits_RC.shape, "student and teacher have different classes"
            return logits_rc

        return TeacherTaps(neck=by_stride(features.values(), size), logits_at=logits_at)

    def neck_only(self, images: list[Tensor]) -> NeckMaps:
        """See ``Detector.neck_only``."""
        with observing(self.model):
            _, size, features = self._features(images)
        return by_stride(features.values(), size)

    def _features(self, images: list[Tensor]) -> tuple[ImageList, tuple[int, int], dict[str, Tensor]]:
        batch, _ = self._parts.transform(images)
        size = (int(batch.tensors.shape[-2]), int(batch.tensors.shape[-1]))
        return batch, size, self._parts.backbone(batch.tensors)


def _scores(
    logits_rc: Tensor, proposals: list[Tensor], labels: list[Tensor], matched: list[Tensor], counts: tuple[int, ...]
) -> ClassScores:
    starts = [sum(counts[:index]) for index in range(len(counts))]
    positive_r = torch.cat(labels) > 0
    instance_r = torch.cat([each + start for each, start in zip(matched, starts, strict=True)])
    return ClassScores(
        logits_RC=logits_rc, positive_R=positive_r, instance_R=instance_r * positive_r, proposals=proposals
    )
