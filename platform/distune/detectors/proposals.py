"""The prediction sites of the two-stage families: sampled proposals that may hold an object.

Shape legend: ``r`` sampled proposals of the whole batch, ``R`` those that are prediction sites, ``C`` classes without
background.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from distune.detectors.modes import eval_without_grad
from distune.detectors.prediction_sites import labels_at
from distune.detectors.taps import Instances, PredictionSites


def positive_proposals(
    heads: Any,
    logits_rC: Tensor,
    deltas_rK: Tensor,
    proposals: list[Tensor],
    labels: list[Tensor],
    matched: list[Tensor],
    instances: Instances,
) -> PredictionSites:
    """Return the prediction sites of a two-stage student: per image the maximum number of positives that are sampled.

    Positive proposals come first, so none is missing. Negative ones fill up to a number that is known without waiting
    for the device. A teacher then scores a quarter of the proposals that the student was trained on.

    Args:
        heads: torchvision's ``RoIHeads`` of the student.
        logits_rC: its class logits, background first.
        deltas_rK: its regression, four numbers for each class, background first.
        proposals: of each image.
        labels: of each image's proposals, 0 is background.
        matched: index of each proposal's box among those of its image.
        instances: the boxes of the batch.

    Returns:
        The sites; their boxes are decoded on demand.
    """
    sampler = heads.fg_bg_sampler
    most = int(sampler.batch_size_per_image * sampler.positive_fraction)
    first_r, first_n = 0, 0
    rows: list[Tensor] = []
    instance: list[Tensor] = []
    kept: list[Tensor] = []
    for boxes_p4, labels_p, matched_p, count in zip(proposals, labels, matched, instances.counts, strict=True):
        order_k = (labels_p > 0).to(torch.uint8).argsort(descending=True, stable=True)[:most]
        rows.append(order_k + first_r)
        kept.append(boxes_p4[order_k])
        instance.append((matched_p[order_k] + first_n) * (labels_p[order_k] > 0))
        first_r, first_n = first_r + len(labels_p), first_n + count
    rows_R, instance_R = torch.cat(rows), torch.cat(instance)
    labels_R = labels_at(instance_R, torch.cat(labels)[rows_R] > 0, instances)
    return PredictionSites(
        logits_RC=logits_rC[rows_R],
        boxes=lambda: decode_proposals(heads, deltas_rK[rows_R], kept, labels_R),
        labels_R=labels_R,
        instance_R=instance_R,
        proposals=kept,
    )


def outputs_at_proposals(
    model: nn.Module, features: dict[str, Tensor], image_sizes: list[tuple[int, int]]
) -> tuple[Callable[[PredictionSites], Tensor], Callable[[PredictionSites], Tensor]]:
    """Return ``TeacherTaps.logits_at`` and ``boxes_at`` of a two-stage teacher. The head runs once for both."""
    heads: Any = model.roi_heads
    cached: list[tuple[PredictionSites, Tensor, Tensor]] = []

    def run(sites: PredictionSites) -> tuple[Tensor, Tensor]:
        assert sites.proposals is not None, "a two-stage teacher scores proposals"
        if not cached or cached[0][0].proposals is not sites.proposals:
            with eval_without_grad(model):
                pooled = heads.box_roi_pool(features, sites.proposals, image_sizes)
                cached[:] = [(sites, *heads.box_predictor(heads.box_head(pooled)))]
        return cached[0][1:]

    def boxes_at(sites: PredictionSites) -> Tensor:
        assert sites.proposals is not None
        return decode_proposals(heads, run(sites)[1], sites.proposals, sites.labels_R)

    return lambda sites: run(sites)[0], boxes_at


def decode_proposals(heads: Any, deltas_RK: Tensor, proposals: list[Tensor], labels_R: Tensor) -> Tensor:
    """Return the box that the head predicts for each proposal's label, (R, 4) xyxy pixels."""
    num_sites = deltas_RK.shape[0]
    index_R14 = labels_R[:, None, None].expand(-1, 1, 4)
    deltas_R4 = deltas_RK.reshape(num_sites, -1, 4).gather(1, index_R14).squeeze(1)
    boxes_R4: Tensor = heads.box_coder.decode_single(deltas_R4, torch.cat(proposals))
    return boxes_R4
