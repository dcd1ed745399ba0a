"""The AUC of the filter: how well discrepancies rank instances with a tag, such as blurred, occluded or small.

Shape legend: ``L`` levels, ``N`` instances.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

from distune.detectors.taps import Instances
from distune.distillation.filtering import InstanceWeights

TagsOf = Callable[[int], tuple[frozenset[str], ...]]
"""From the index of an image to the tags of its boxes."""

ANY_TAG = "tagged"


def area_under_roc(positive_N: NDArray[np.float64], negative_N: NDArray[np.float64]) -> float:
    """Return the probability that a positive scores above a negative; ties count half. Neither may be empty."""
    ranks_N = rankdata(np.concatenate([positive_N, negative_N]))
    num_positive, num_negative = len(positive_N), len(negative_N)
    wins = ranks_N[:num_positive].sum() - num_positive * (num_positive + 1) / 2
    return float(wins / (num_positive * num_negative))


class FilterAuc:
    """Collects the discrepancies of an epoch on the device and ranks them by tag at its end.

    Args:
        tags_of: the tags of an image's boxes.
    """

    def __init__(self, tags_of: TagsOf) -> None:
        self._tags_of = tags_of
        self._origins: list[Tensor] = []
        self._scores: list[Tensor] = []

    def update(self, instances: Instances, weights: InstanceWeights) -> None:
        """Add the mean discrepancy of each instance over the levels with prototypes. Waits for no device."""
        has_prototypes_LN = weights.has_prototypes_LN
        mean_N = (weights.discrepancy_LN * has_prototypes_LN).sum(dim=0) / has_prototypes_LN.sum(dim=0)
        self._origins.append(instances.origin_N2)
        self._scores.append(mean_N.detach())

    def compute(self) -> dict[str, float]:
        """Return the area under the ROC curve of the discrepancy for each tag and for any tag.

        It is the probability that an instance with the tag has a larger discrepancy than one without any tag; 0.5 is
        chance. Instances without prototypes or known origin are left out, and so are tags without instances.

        Returns:
            ``filter/auc_<tag>`` and ``filter/auc_tagged``; empty when no instance is without a tag.
        """
        if not self._scores:
            return {}
        origins = torch.cat(self._origins).cpu().numpy()
        scores = torch.cat(self._scores).double().cpu().numpy()
        groups: dict[str, list[float]] = {}
        for (image, box), score in zip(origins, scores, strict=True):
            if image < 0 or not np.isfinite(score):
                continue
            tags = self._tags_of(int(image))[int(box)]
            for group in [*tags, ANY_TAG] if tags else [""]:
                groups.setdefault(group, []).append(float(score))
        clean = np.array(groups.pop("", []))
        if clean.size == 0:
            return {}
        return {f"filter/auc_{tag}": area_under_roc(np.array(found), clean) for tag, found in sorted(groups.items())}

    def reset(self) -> None:
        """Remove all instances."""
        self._origins.clear()
        self._scores.clear()
