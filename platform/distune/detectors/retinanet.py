"""RetinaNet (Lin et al., ICCV 2017, arXiv 1708.02002) of torchvision, with taps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import RetinaNet
from torchvision.ops import box_iou
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from distune.config.detector import RetinaNetSettings
from distune.detectors.backbone import build_pyramid
from distune.detectors.exact_boxes import Float32AnchorGenerator, answer_in_float32
from distune.detectors.levels import by_stride
from distune.detectors.modes import observing
from distune.detectors.taps import ClassScores, Instances, NeckMaps, StudentTaps, TeacherTaps

REPLACEABLE = ("head.classification_head.cls_logits.",)
"""The parameters that depend on the classes."""


class RetinaNetDetector:
    """A RetinaNet with taps. Strides 8 to 128, sigmoid scores at anchors."""

    family = "retinanet"
    score_kind = "sigmoid"

    def __init__(self, settings: RetinaNetSettings, *, num_classes: int, min_size_px: int, max_size_px: int) -> None:
        self.channels = settings.fpn_channels
        pyramid = build_pyramid(
            settings, stages=(2, 3, 4), extra_blocks=LastLevelP6P7(settings.fpn_channels, settings.fpn_channels)
        )
        self._parts: Any = RetinaNet(
            pyramid,
            num_classes + 1,
            min_size=min_size_px,
            max_size=max_size_px,
            anchor_generator=_anchors(settings.anchor_scale),
        )
        answer_in_float32(self._parts.head.classification_head)
        answer_in_float32(self._parts.head.regression_head)
        self.model: nn.Module = self._parts

    def learn(self, images: list[Tensor], targets: list[dict[str, Tensor]]) -> StudentTaps:
        """See ``Detector.learn``."""
        model = self._parts
        batch, resized = model.transform(images, targets)
        size = (int(batch.tensors.shape[-2]), int(batch.tensors.shape[-1]))
        features = list(model.backbone(batch.tensors).values())
        outputs = model.head(features)
        anchors = model.anchor_generator(batch, features)
        matched = [self._match(target["boxes"], each) for target, each in zip(resized, anchors, strict=True)]
        losses = model.head.compute_loss(resized, outputs, anchors, matched)
        instances = Instances.of(resized, size)
        return StudentTaps(
            losses=losses,
            neck=by_stride(features, size),
            scores=_scores(outputs["cls_logits"], torch.stack(matched), instances.counts),
            instances=instances,
        )

    def observe(self, images: list[Tensor]) -> TeacherTaps:
        """See ``Detector.observe``."""
        with observing(self.model):
            size, features = self._features(images)
        head = self._parts.head.classification_head

        def logits_at(scores: ClassScores) -> Tensor:
            with observing(self.model):
                logits_bac: Tensor = head(features)
            logits_rc = logits_bac.flatten(0, 1)
            assert logits_rc.shape == scores.logits_RC.shape, "student and teacher have different anchors or classes"
            return logits_rc

        return TeacherTaps(neck=by_stride(features, size), logits_at=logits_at)

    def neck_only(self, images: list[Tensor]) -> NeckMaps:
        """See ``Detector.neck_only``."""
        with observing(self.model):
            size, features = self._features(images)
        return by_stride(features, size)

    def _features(self, images: list[Tensor]) -> tuple[tuple[int, int], list[Tensor]]:
        batch, _ = self._parts.transform(images)
        return (int(batch.tensors.shape[-2]), int(batch.tensors.shape[-1])), list(
            self._parts.backbone(batch.tensors).values()
        )

    def _match(self, boxes_n4: Tensor, anchors_a4: Tensor) -> Tensor:
        """Index of each anchor's box, -1 for background, -2 for neither: as ``RetinaNet.compute_loss`` does."""
        if boxes_n4.numel() == 0:
            return torch.full((anchors_a4.shape[0],), -1, dtype=torch.int64, device=anchors_a4.device)
        matched: Tensor = self._parts.proposal_matcher(box_iou(boxes_n4, anchors_a4))
        return matched


def _anchors(scale: float) -> Float32AnchorGenerator:
    """torchvision's anchors of RetinaNet, times ``scale``."""
    sizes = tuple(
        tuple(scale * size for size in (base, int(base * 2 ** (1 / 3)), int(base * 2 ** (2 / 3))))
        for base in (32, 64, 128, 256, 512)
    )
    return Float32AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes))


def _scores(logits_bac: Tensor, matched_ba: Tensor, counts: tuple[int, ...]) -> ClassScores:
    starts = [sum(counts[:index]) for index in range(len(counts))]
    positive_ba = matched_ba >= 0
    instance_ba = torch.stack([matched + start for matched, start in zip(matched_ba, starts, strict=True)])
    return ClassScores(
        logits_RC=logits_bac.flatten(0, 1),
        positive_R=positive_ba.flatten(),
        instance_R=(instance_ba * positive_ba).flatten(),
        proposals=None,
    )
