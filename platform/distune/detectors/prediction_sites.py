"""Matching of prediction sites with ground-truth boxes over a whole batch.

Shape legend: ``B`` batch, ``A`` anchors or cells of an image, ``R`` = B times A, ``N`` instances.
"""

from __future__ import annotations

import torch
from torch import Tensor

from distune.detectors.taps import Frame, Instances


def matched_sites(matched_BA: Tensor, instances: Instances) -> tuple[Tensor, Tensor]:
    """Turn the matches of each image into ``labels_R`` and ``instance_R`` of ``PredictionSites``.

    Args:
        matched_BA: index of each site's box among the boxes of its image, negative where there is none.
        instances: the boxes of the batch.

    Returns:
        ``labels_R`` and ``instance_R``, int64, both 0 where there is no box.
    """
    starts = [sum(instances.counts[:index]) for index in range(len(instances.counts))]
    positive_BA = matched_BA >= 0
    instance_BA = torch.stack([matched + start for matched, start in zip(matched_BA, starts, strict=True)])
    instance_R = (instance_BA * positive_BA).flatten()
    return labels_at(instance_R, positive_BA.flatten(), instances), instance_R


def labels_at(instance_R: Tensor, positive_R: Tensor, instances: Instances) -> Tensor:
    """Return the label of each site's box, 0 where it has none. Works for a batch without boxes."""
    padded_N = torch.cat([instances.labels_N, instances.labels_N.new_zeros(1)])
    return padded_N[instance_R] * positive_R


def sites_in_image(anchors: list[Tensor], frame: Frame) -> Tensor:
    """Return whether the center of each site lies in its image, and not in the padding of the batch.

    Args:
        anchors: of each image, (A, 4) xyxy pixels of the padded batch.
        frame: of the batch.

    Returns:
        Bool, (R,), image after image.
    """
    inside: list[Tensor] = []
    for anchors_A4, (height, width) in zip(anchors, frame.image_sizes, strict=True):
        centers_A2 = (anchors_A4[:, :2] + anchors_A4[:, 2:]) / 2
        inside.append((centers_A2[:, 0] < width) & (centers_A2[:, 1] < height))
    return torch.cat(inside)
