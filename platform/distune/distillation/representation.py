"""Instances described by prototypes: one number per prototype, in each model's own space.

Shape legend: ``L`` levels, ``N`` instances, ``C`` classes without background, ``M`` prototypes of a class, ``D``
channels of either model.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from distune.distillation.maps.pooling import PooledFeatures, l2_normalize
from distune.distillation.prototypes.prototypes import Prototypes

Representation = Literal["cosine", "coefficient"]


def represent(unit_LND: Tensor, basis_LCMD: Tensor) -> Tensor:
    """Inner products of every instance with every row of a basis.

    With unit prototypes as the basis these are cosines. With a class's dual basis they are the coefficients of the
    least-squares fit on the span of its prototypes. Prototypes that are not valid give 0.

    Args:
        unit_LND: unit-norm features of N instances.
        basis_LCMD: a basis per level and class.

    Returns:
        (L, N, C, M).
    """
    num_levels, num_classes, num_prototypes, channels = basis_LCMD.shape
    flat_LNP = torch.bmm(unit_LND, basis_LCMD.reshape(num_levels, -1, channels).mT)
    return flat_LNP.reshape(num_levels, -1, num_classes, num_prototypes)


def own_class(values_LNCM: Tensor, class_N: Tensor) -> Tensor:
    """Of each instance the values that belong to its own class, (L, N, M)."""
    num_levels, _, _, num_prototypes = values_LNCM.shape
    index_LN1M = class_N.reshape(1, -1, 1, 1).expand(num_levels, -1, 1, num_prototypes)
    return values_LNCM.gather(2, index_LN1M).squeeze(2)


class Representations:
    """The instances of a batch on the present prototypes, computed when first asked for.

    Args:
        features: of the batch's instances in both models.
        prototypes: the present ones.
        labels_N: 1 to C.
    """

    def __init__(self, features: PooledFeatures, prototypes: Prototypes, labels_N: Tensor) -> None:
        self.class_N = labels_N - 1
        self._prototypes = prototypes
        self._student_LND = l2_normalize(features.student_LND)
        self._teacher_LND = l2_normalize(features.teacher_LNE)
        self._known: dict[Representation, tuple[Tensor, Tensor]] = {}

    @property
    def valid_LCM(self) -> Tensor:
        """Which prototypes there are; bool."""
        return self._prototypes.valid

    @property
    def valid_LNCM(self) -> Tensor:
        """Which numbers of a representation belong to a prototype; bool."""
        return self._prototypes.valid[:, None].expand(-1, self.class_N.shape[0], -1, -1)

    def of(self, representation: Representation) -> tuple[Tensor, Tensor]:
        """Student's and teacher's, (L, N, C, M) each. The teacher's carries no gradient."""
        if representation not in self._known:
            bases = self.bases(representation)
            # Whoever asks first, perhaps without gradient, must not decide for the others.
            with torch.set_grad_enabled(self._student_LND.requires_grad):
                student_LNCM = represent(self._student_LND, bases[0])
            self._known[representation] = (student_LNCM, represent(self._teacher_LND, bases[1]).detach())
        return self._known[representation]

    def bases(self, representation: Representation) -> tuple[Tensor, Tensor]:
        """What features are multiplied with: the student's (L, C, M, D) and the teacher's (L, C, M, E)."""
        stored = self._prototypes
        if representation == "cosine":
            return stored.student, stored.teacher
        return stored.student_dual, stored.teacher_dual
