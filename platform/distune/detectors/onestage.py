"""The common part of the one-stage families: a head that predicts at every anchor, or cell, of every image.

Shape legend: ``B`` batch, ``A`` anchors of an image, ``R`` = B times A, ``C`` classes without background, ``n`` boxes
of an image.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import box_iou

from distune.detectors.batch_parts import losses_of_whole, pad_as_whole
from distune.detectors.exact_boxes import cast_one_stage_to_float32
from distune.detectors.levels import by_stride
from distune.detectors.modes import eval_without_grad
from distune.detectors.prediction_sites import matched_sites, sites_in_image
from distune.detectors.taps import (
    Frame,
    Instances,
    PredictionSites,
    StudentTaps,
    TeacherMaps,
    TeacherTaps,
    View,
    frame_of,
)

Match = Callable[[Tensor, Tensor, list[Tensor]], Tensor]
"""Maps the boxes of an image (n, 4), n at least 1, its anchors (A, 4) and the head's input maps to the index of each
anchor's box, negative where there is none."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rules:
    """The functions in which the families differ.

    Attributes:
        match: matches anchors with boxes, as torchvision's model does.
        compute_loss: torchvision's loss of targets, head outputs, anchors and matches.
        decode: boxes (R, 4) from the head's regression (R, 4) and anchors (R, 4).
        num_neck_maps: number of maps, from the finest, that belong to the neck; None for all.
        is_mean_over_images: losses are means over images; otherwise sums over the batch, divided by its positives.
    """

    match: Match
    compute_loss: Callable[..., dict[str, Tensor]]
    decode: Callable[[Tensor, Tensor], Tensor]
    num_neck_maps: int | None = None
    is_mean_over_images: bool = False


class OneStageDetector:
    """A torchvision one-stage detector with taps; see ``Detector``.

    Args:
        model: has ``transform``, ``backbone``, ``anchor_generator`` and ``head``.
        family: its name.
        score_kind: ``softmax`` or ``sigmoid``.
        base_size_px: see ``Detector``.
        rules: of the family.
    """

    def __init__(self, model: Any, *, family: str, score_kind: str, base_size_px: float, rules: Rules) -> None:
        self.model: nn.Module = model
        self.family = family
        self.score_kind = score_kind
        self.base_size_px = base_size_px
        self._parts: Any = model
        self._rules = rules
        cast_one_stage_to_float32(model)

    def forward_train(self, images: list[Tensor], targets: list[dict[str, Tensor]]) -> StudentTaps:
        """See ``Detector.forward_train``."""
        model = self._parts
        batch, resized = model.transform(images, targets)
        batch = pad_as_whole(batch)
        frame = frame_of(batch)
        features = list(model.backbone(batch.tensors).values())
        outputs = model.head(features)
        anchors = model.anchor_generator(batch, features)
        matched = [self._match(target["boxes"], each, features) for target, each in zip(resized, anchors, strict=True)]
        losses = self._rules.compute_loss(resized, outputs, anchors, matched)
        is_mean = self._rules.is_mean_over_images
        losses = losses_of_whole(losses, lambda _: len(images) if is_mean else (torch.stack(matched) >= 0).sum())
        instances = Instances.of(resized, frame)
        labels_R, instance_R = matched_sites(torch.stack(matched), instances)
        sites = PredictionSites(
            logits_RC=outputs["cls_logits"].flatten(0, 1),
            boxes=lambda: self._decode(outputs["bbox_regression"], anchors),
            labels_R=labels_R,
            instance_R=instance_R,
            proposals=None,
            in_image=lambda: sites_in_image(anchors, frame),
        )
        return StudentTaps(losses=losses, neck=self._neck(features, frame), prediction_sites=sites, instances=instances)

    def forward_teacher(self, images: list[Tensor]) -> TeacherTaps:
        """See ``Detector.forward_teacher``."""
        return self.taps_of(self.teacher_maps(images))

    def teacher_maps(self, images: list[Tensor]) -> TeacherMaps:
        """See ``Detector.teacher_maps``."""
        with eval_without_grad(self.model):
            _, frame, features = self._features(images, is_part=True)
        return TeacherMaps({str(index): each for index, each in enumerate(features)}, frame)

    def taps_of(self, maps: TeacherMaps) -> TeacherTaps:
        """See ``Detector.taps_of``."""
        head, features = self._parts.head, list(maps.features.values())

        def compute_logits() -> Tensor:
            logits_BAC: Tensor = head.classification_head(features)
            return logits_BAC.flatten(0, 1)

        def compute_boxes() -> Tensor:
            output = head.regression_head(features)
            deltas_BA4 = output[0] if isinstance(output, tuple) else output  # FCOS adds centerness
            return self._decode(deltas_BA4, self._parts.anchor_generator(maps.images, features))

        def logits_at(sites: PredictionSites) -> Tensor:
            with eval_without_grad(self.model):
                logits_RC = maps.output("logits", compute_logits)
            assert logits_RC.shape[0] == sites.logits_RC.shape[0], "student and teacher have different anchors"
            return logits_RC

        def boxes_at(_: PredictionSites) -> Tensor:
            with eval_without_grad(self.model):
                return maps.output("boxes", compute_boxes)

        return TeacherTaps(View(self._neck(features, maps.frame), maps.frame), logits_at, boxes_at)

    def neck_only(self, images: list[Tensor]) -> View:
        """See ``Detector.neck_only``."""
        with eval_without_grad(self.model):
            _, frame, features = self._features(images)
        return View(self._neck(features, frame), frame)

    def _features(self, images: list[Tensor], *, is_part: bool = False) -> tuple[Any, Frame, list[Tensor]]:
        batch, _ = self._parts.transform(images)
        batch = pad_as_whole(batch) if is_part else batch
        return batch, frame_of(batch), list(self._parts.backbone(batch.tensors).values())

    def _neck(self, features: list[Tensor], frame: Frame) -> dict[int, Tensor]:
        return by_stride(features[: self._rules.num_neck_maps], frame)

    def _match(self, boxes_n4: Tensor, anchors_A4: Tensor, features: list[Tensor]) -> Tensor:
        if boxes_n4.numel() == 0:
            return torch.full((anchors_A4.shape[0],), -1, dtype=torch.int64, device=anchors_A4.device)
        return self._rules.match(boxes_n4, anchors_A4, features)

    def _decode(self, deltas_BA4: Tensor, anchors: list[Tensor]) -> Tensor:
        return self._rules.decode(deltas_BA4.flatten(0, 1), torch.cat(anchors))


def match_by_overlap(model: Any) -> Match:
    """Return the matching by overlap of the model's ``proposal_matcher``."""

    def match(boxes_n4: Tensor, anchors_A4: Tensor, _: list[Tensor]) -> Tensor:
        matched_A: Tensor = model.proposal_matcher(box_iou(boxes_n4, anchors_A4))
        return matched_A

    return match
