"""Figures about the directions of instances' features: do they tell classes apart, and how many directions are there?

Prototypes and the filter compare directions. Where all features of a level point the same way, any prototypes serve as
well as any others, and a discrepancy is noise.

Shape legend: ``L`` levels, ``N`` instances, ``D`` channels of either model, ``C`` classes among the instances.
"""

from __future__ import annotations

import collections

import torch
from torch import Tensor

from distune.distillation.maps.pooling import PooledFeatures, l2_normalize

MAX_INSTANCES = 512
"""The size of an epoch's sample: its last instances."""


def mean_cosine(unit_ND: Tensor) -> float | None:
    """Return the mean cosine of all pairs of different instances; None for fewer than two."""
    return _mean(*_pairs(unit_ND))


def class_gap(unit_ND: Tensor, labels_N: Tensor) -> float | None:
    """Return the mean cosine of pairs of the same class minus that of pairs of different classes.

    0 means that directions do not tell classes apart; with orthogonal classes of one direction each it is 1.

    Args:
        unit_ND: unit features.
        labels_N: any integers.

    Returns:
        -2 to 2; None without a pair of either kind.
    """
    of_classes = [_pairs(unit_ND[labels_N == label]) for label in torch.unique(labels_N)]
    same_sum, same_count = sum(each for each, _ in of_classes), sum(count for _, count in of_classes)
    all_sum, all_count = _pairs(unit_ND)
    same, different = _mean(same_sum, same_count), _mean(all_sum - same_sum, all_count - same_count)
    return None if same is None or different is None else same - different


def effective_rank(unit_ND: Tensor) -> float | None:
    """Return the effective number of directions: the exponential of the entropy of the normalized eigenvalues.

    The eigenvalues are those of the second moment ``1/N sum_n u_n u_n'``, and sum to 1. Roy and Vetterli, "The
    Effective Rank: A Measure of Effective Dimensionality", EUSIPCO 2007.

    Args:
        unit_ND: unit features.

    Returns:
        1, if all features lie on one line, to the smaller of N and D; None without instances.
    """
    if unit_ND.shape[0] == 0:
        return None
    values_ND = unit_ND.double()
    wide = values_ND.shape[0] < values_ND.shape[1]
    moment = (values_ND @ values_ND.T if wide else values_ND.T @ values_ND) / values_ND.shape[0]
    eigenvalues = torch.linalg.eigvalsh(moment).clamp(min=0)
    fractions = eigenvalues / eigenvalues.sum()
    return float(torch.special.entr(fractions).sum().exp())


def figures_of(features_ND: Tensor, labels_N: Tensor) -> dict[str, float]:
    """Return ``class_gap``, ``mean_cosine`` and ``effective_rank`` of features; those that exist.

    Args:
        features_ND: of any length; zero and non-finite features are left out.
        labels_N: the class of each.

    Returns:
        By name.
    """
    unit_ND = l2_normalize(features_ND.double())
    usable_N = unit_ND.isfinite().all(dim=1) & unit_ND.any(dim=1)
    unit_ND, labels_N = unit_ND[usable_N], labels_N[usable_N]
    found = {
        "class_gap": class_gap(unit_ND, labels_N),
        "mean_cosine": mean_cosine(unit_ND),
        "effective_rank": effective_rank(unit_ND),
    }
    return {name: value for name, value in found.items() if value is not None}


class FeatureSample:
    """The last instances of an epoch, on the device, and the figures about them at its end.

    Args:
        strides: of the levels.
        max_instances: the smallest number of instances that is kept, if the epoch has them; whole batches are kept.
    """

    def __init__(self, strides: tuple[int, ...], *, max_instances: int = MAX_INSTANCES) -> None:
        self._strides = strides
        self._max_instances = max_instances
        self._batches: collections.deque[tuple[PooledFeatures, Tensor, Tensor]] = collections.deque()
        self._num_instances = 0

    def add(self, features: PooledFeatures, labels_N: Tensor, counted_LN: Tensor) -> None:
        """Add the instances of a batch. Waits for no device.

        Args:
            features: of both models, as the method compares their directions.
            labels_N: their classes.
            counted_LN: bool, the levels on which each counts.
        """
        self._batches.append(
            (PooledFeatures(features.student_LND.detach(), features.teacher_LNE), labels_N, counted_LN)
        )
        self._num_instances += labels_N.shape[0]
        while self._num_instances - self._batches[0][1].shape[0] >= self._max_instances:
            self._num_instances -= self._batches.popleft()[1].shape[0]

    def compute(self) -> dict[str, float]:
        """Return ``features/<figure>_<model>/<stride>`` of every level and both models; see ``figures_of``."""
        if self._num_instances == 0:
            return {}
        labels_N = torch.cat([labels for _, labels, _ in self._batches]).cpu()
        counted_LN = torch.cat([counted for _, _, counted in self._batches], dim=1).cpu()
        student_LND = torch.cat([features.student_LND for features, _, _ in self._batches], dim=1).cpu()
        teacher_LNE = torch.cat([features.teacher_LNE for features, _, _ in self._batches], dim=1).cpu()
        metrics: dict[str, float] = {}
        for model, features_LNF in (("student", student_LND), ("teacher", teacher_LNE)):
            for stride, features_NF, counted_N in zip(self._strides, features_LNF, counted_LN, strict=True):
                for figure, value in figures_of(features_NF[counted_N], labels_N[counted_N]).items():
                    metrics[f"features/{figure}_{model}/{stride}"] = value
        return metrics

    def reset(self) -> None:
        """Remove all instances."""
        self._batches.clear()
        self._num_instances = 0


def _pairs(unit_ND: Tensor) -> tuple[float, int]:
    """Return the sum of the cosines of all ordered pairs of different instances, and the number of pairs."""
    unit_ND = unit_ND.double()
    count = unit_ND.shape[0]
    return float(unit_ND.sum(dim=0).square().sum() - unit_ND.square().sum()), count * (count - 1)


def _mean(total: float, count: int) -> float | None:
    return total / count if count > 0 else None
