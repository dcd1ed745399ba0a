"""Evaluation of a detector on the classes that it knows.

Shape legend: ``N`` boxes of an image.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from distune.data.dataset import Annotations, DetectionDataset
from distune.detectors.classes import class_table
from distune.detectors.taps import Detector
from distune.training.evaluation.predict_and_score import Prediction, predict, score


class KnownClasses:
    """A dataset reduced to the boxes of some classes.

    Args:
        dataset: any.
        classes: names of the classes to keep, in any order.
    """

    def __init__(self, dataset: DetectionDataset, classes: tuple[str, ...]) -> None:
        self.name = dataset.name
        self.classes = classes
        self.faults = dataset.faults
        self._dataset = dataset
        self._labels = np.array([0, *(classes.index(c) + 1 if c in classes else 0 for c in dataset.classes)])

    def __len__(self) -> int:
        return len(self._dataset)

    def annotations(self, index: int) -> Annotations:
        """Return the boxes of the kept classes."""
        image = self._dataset.annotations(index)
        labels_N = self._labels[image.labels_N].astype(np.int64)
        kept_N = labels_N > 0
        return dataclasses.replace(
            image,
            boxes_N4=image.boxes_N4[kept_N],
            labels_N=labels_N[kept_N],
            areas_N=image.areas_N[kept_N],
            crowd_N=image.crowd_N[kept_N],
            difficult_N=image.difficult_N[kept_N],
            tags_N=tuple(tags for tags, is_kept in zip(image.tags_N, kept_N, strict=True) if is_kept),
            draw_masks=None,
            given_N4=image.scored_N4[kept_N],
        )

    def image(self, index: int) -> Tensor:
        """Return the pixels of an image. Raises ``ImageError``."""
        return self._dataset.image(index)


def evaluate_known(
    detector: Detector,
    dataset: DetectionDataset,
    *,
    device: torch.device,
    batch_size: int,
    autocast_dtype: torch.dtype | None = None,
) -> dict[str, float]:
    """Score a detector on the classes of a dataset that it knows; see ``evaluate``.

    Detections of classes that the dataset does not have are dropped, and boxes of classes that the detector does not
    know are not ground truth. Returns no metric if it knows no class.
    """
    table = class_table(detector)
    if table is not None and not table.known:
        return {}
    if table is not None and table.unknown:
        dataset = KnownClasses(dataset, table.known)
    predictions = predict_known(detector, dataset, device=device, batch_size=batch_size, autocast_dtype=autocast_dtype)
    return score(predictions, dataset)


def predict_known(
    detector: Detector,
    dataset: DetectionDataset,
    *,
    device: torch.device,
    batch_size: int,
    autocast_dtype: torch.dtype | None = None,
) -> list[Prediction]:
    """Run a detector on a dataset; see ``predict``. Detections of classes that the dataset lacks are dropped."""
    table = class_table(detector)
    return predict(
        detector.model,
        dataset,
        device=device,
        batch_size=batch_size,
        autocast_dtype=autocast_dtype,
        labels_K=None if table is None else table.labels_among(dataset.classes),
    )
