"""FCOS (Tian et al., ICCV 2019, arXiv 1904.01355) from torchvision, with taps.

Shape legend: ``A`` cells of an image, over all levels; ``n`` boxes of an image.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from distune.config.detector import FcosSettings
from distune.detectors.backbone import build_pyramid
from distune.detectors.onestage import OneStageDetector, Rules

REPLACEABLE = ("head.classification_head.cls_logits.",)
"""The parameters that depend on the classes."""
_RADIUS_CELLS = 1.5
_STRIDES_PX = (8, 16, 32, 64, 128)
_MOST_AREA = 1e8


def build_fcos(settings: FcosSettings, *, num_classes: int, min_size_px: int, max_size_px: int) -> OneStageDetector:
    """Build an FCOS with taps: strides 8 to 128, sigmoid scores at the cells of the maps."""
    pyramid = build_pyramid(
        settings, stages=(2, 3, 4), extra_blocks=LastLevelP6P7(settings.fpn_channels, settings.fpn_channels)
    )
    sizes = tuple((settings.anchor_scale * stride,) for stride in _STRIDES_PX)
    model: Any = FCOS(
        pyramid,
        num_classes + 1,
        min_size=min_size_px,
        max_size=max_size_px,
        anchor_generator=AnchorGenerator(sizes, ((1.0,),) * len(sizes)),
        # In units of an anchor's size: the scale must not change how many cells around a center belong to a box.
        center_sampling_radius=_RADIUS_CELLS / settings.anchor_scale,
    )

    def match(boxes_n4: Tensor, anchors_A4: Tensor, features: list[Tensor]) -> Tensor:
        cells_per_level = [each.shape[-2] * each.shape[-1] for each in features]
        return match_cells(boxes_n4, anchors_A4, cells_per_level, radius=model.center_sampling_radius)

    rules = Rules(match=match, compute_loss=model.head.compute_loss, decode=model.box_coder.decode)
    # A cell of stride S is matched to boxes whose farthest side is 4 S to 8 S away, times the scale. For the center of
    # a box that begins at 32 px on stride 4, but most cells of a box are off the center, so one side is farther away.
    base_size_px = 25 * settings.anchor_scale
    return OneStageDetector(model, family="fcos", score_kind="sigmoid", base_size_px=base_size_px, rules=rules)


def match_cells(boxes_n4: Tensor, anchors_A4: Tensor, cells_per_level: list[int], *, radius: float) -> Tensor:
    """Match each cell with a box, as torchvision's FCOS does inside its loss.

    A cell of size s at c is a candidate for a box with center m when ``|c - m|_inf < radius s``, when c lies inside of
    the box, and when the farthest side of the box is between 4 s and 8 s away; without the lower bound on the finest
    level and the upper bound on the coarsest. The smallest box wins.

    Args:
        boxes_n4: xyxy pixels, at least one.
        anchors_A4: the square of each cell, level after level.
        cells_per_level: fine to coarse.
        radius: in sizes of a cell.

    Returns:
        Indices (A,), -1 where a cell belongs to no box.
    """
    upper_left_n2, lower_right_n2 = boxes_n4[:, :2], boxes_n4[:, 2:]
    centers_A12 = ((anchors_A4[:, :2] + anchors_A4[:, 2:]) / 2)[:, None]
    sizes_A1 = (anchors_A4[:, 2] - anchors_A4[:, 0])[:, None]
    sides_An4 = torch.cat([centers_A12 - upper_left_n2, lower_right_n2 - centers_A12], dim=2)
    offsets_An2 = (centers_A12 - (upper_left_n2 + lower_right_n2) / 2).abs()
    farthest_An = sides_An4.amax(dim=2)
    nearest_A1, most_A1 = sizes_A1 * 4, sizes_A1 * 8
    nearest_A1[: cells_per_level[0]] = 0
    most_A1[-cells_per_level[-1] :] = float("inf")
    is_candidate_An = (offsets_An2.amax(dim=2) < radius * sizes_A1) & (sides_An4.amin(dim=2) > 0)
    is_candidate_An &= (farthest_An > nearest_A1) & (farthest_An < most_A1)
    # The same ranking as torchvision's, rounding included, so that boxes of nearly equal areas are ordered alike.
    extent_n2 = lower_right_n2 - upper_left_n2
    rank_An = is_candidate_An.to(torch.float32) * (_MOST_AREA - extent_n2[:, 0] * extent_n2[:, 1])
    best_A, matched_A = rank_An.max(dim=1)
    return torch.where(best_A < 1e-5, -1, matched_A)
