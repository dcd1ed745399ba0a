"""The instances of a whole batch, of which each process of a trial on several GPUs has a part.

Shape legend: ``L`` levels, ``N`` instances.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from distune.collectives import gather_rows, num_processes
from distune.detectors.taps import Instances
from distune.distillation.maps.pooling import PooledFeatures


def gather_batch(
    features: PooledFeatures, instances: Instances, counted_LN: Tensor
) -> tuple[PooledFeatures, Instances, Tensor]:
    """Gather the instances of all processes, in the order of the images of the batch.

    Args:
        features: of this process's instances.
        instances: of this process's images.
        counted_LN: bool, the levels on which each counts.

    Returns:
        The same of the whole batch, without gradient, and in the frame of this process's images; in one process, what
        was given.
    """
    if num_processes() == 1:
        return features, instances, counted_LN
    counts = gather_rows(torch.tensor(instances.counts, dtype=torch.int64))
    image_of_N = torch.arange(len(counts)).repeat_interleave(counts)
    everywhere = dataclasses.replace(
        instances,
        boxes_N4=gather_rows(instances.boxes_N4),
        labels_N=gather_rows(instances.labels_N),
        origin_N2=gather_rows(instances.origin_N2),
        image_of_N=image_of_N.to(instances.labels_N.device),
        counts=tuple(counts.tolist()),
    )
    gathered = PooledFeatures(gather_rows(features.student_LND, dim=1), gather_rows(features.teacher_LNE, dim=1))
    return gathered, everywhere, gather_rows(counted_LN.to(torch.uint8), dim=1).bool()
