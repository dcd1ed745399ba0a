"""The filter on instances with a tag, such as blurred, occluded or small: AUC and mean weights.

Shape legend: ``L`` levels, ``N`` instances.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

from distune.collectives import gather_rows
from distune.detectors.taps import Instances
from distune.distillation.filtering import InstanceWeights

TagsOf = Callable[[int], tuple[frozenset[str], ...]]
"""From the index of an image to the tags of its boxes."""

ANY_TAG = "tagged"
NO_TAG = "untagged"


def area_under_roc(positive_N: NDArray[np.float64], negative_N: NDArray[np.float64]) -> float:
    """Return the probability that a positive scores above a negative; ties count half. Neither may be empty."""
    ranks_N = rankdata(np.concatenate([positive_N, negative_N]))
    num_positive, num_negative = len(positive_N), len(negative_N)
    wins = ranks_N[:num_positive].sum() - num_positive * (num_positive + 1) / 2
    return float(wins / (num_positive * num_negative))


class FilterAuc:
    """Collects the discrepancies and weights of an epoch on the device and compares them by tag at its end.

    Args:
        tags_of: the tags of an image's boxes.
    """

    def __init__(self, tags_of: TagsOf) -> None:
        self._tags_of = tags_of
        self._origins: list[Tensor] = []
        self._scores: list[Tensor] = []
        self._weights: list[Tensor] = []

    def update(self, instances: Instances, weights: InstanceWeights) -> None:
        """Add the means of each instance over the levels with prototypes: its discrepancy, and its local weight.

        Waits for no device.
        """
        has_prototypes_LN = weights.has_prototypes_LN
        num_levels_N = has_prototypes_LN.sum(dim=0)
        for values_LN, collected in ((weights.discrepancy_LN, self._scores), (weights.local_LN, self._weights)):
            collected.append(((values_LN * has_prototypes_LN).sum(dim=0) / num_levels_N).detach())
        self._origins.append(instances.origin_N2)

    def compute(self) -> dict[str, float]:
        """Return the area under the ROC curve of the discrepancy, and the mean weights, for each tag and for any tag.

        The area is the probability that an instance with the tag has a larger discrepancy than one without any tag; 0.5
        is chance. Instances without prototypes or known origin are left out, and so are tags without instances.

        Returns:
            ``filter/auc_<tag>`` and ``filter/auc_tagged``, unless all instances have a tag; ``filter/weight_<tag>``,
            ``filter/weight_tagged`` and ``filter/weight_untagged``.
        """
        if not self._scores:
            return {}
        origins = gather_rows(torch.cat(self._origins)).cpu().numpy()
        scores = gather_rows(torch.cat(self._scores)).double().cpu().numpy()
        weights = gather_rows(torch.cat(self._weights)).double().cpu().numpy()
        rows: dict[str, list[int]] = {}
        for row, (image, box) in enumerate(origins):
            if image < 0 or not np.isfinite(scores[row]):
                continue
            tags = self._tags_of(int(image))[int(box)]
            for group in [*tags, ANY_TAG] if tags else [NO_TAG]:
                rows.setdefault(group, []).append(row)
        metrics = {f"filter/weight_{group}": float(weights[found].mean()) for group, found in sorted(rows.items())}
        clean = rows.pop(NO_TAG, [])
        if clean:
            metrics |= {
                f"filter/auc_{tag}": area_under_roc(scores[found], scores[clean]) for tag, found in sorted(rows.items())
            }
        return metrics

    def reset(self) -> None:
        """Remove all instances."""
        self._origins.clear()
        self._scores.clear()
        self._weights.clear()
