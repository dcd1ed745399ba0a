"""Instances represented on prototypes: one number per prototype, in each model's space.

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
    """Return the inner products of every instance with every row of a basis.

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


def gather_class(values_LNCM: Tensor, class_N: Tensor) -> Tensor:
    """Return the values of each instance for its own class, (L, N, M)."""
    num_levels, _, _, num_prototypes = values_LNCM.shape
    index_LN1M = class_N.reshape(1, -1, 1, 1).expand(num_levels, -1, 1, num_prototypes)
    return values_LNCM.gather(2, index_LN1M).squeeze(2)


class Representations:
    """The instances of a batch on the current prototypes, computed on first use.

    Args:
        features: of the batch's instances in both models, centered if features are.
        prototypes: the current ones.
        labels_N: 1 to C.

    Attributes:
        features: as given.
        class_N: 0 to C - 1.
    """

    def __init__(self, features: PooledFeatures, prototypes: Prototypes, labels_N: Tensor) -> None:
        self.features = features
        self.class_N = labels_N - 1
        self._prototypes = prototypes
        self._student_LND = l2_normalize(features.student_LND)
        self._teacher_LNE = l2_normalize(features.teacher_LNE)
        self._cached: dict[Representation, tuple[Tensor, Tensor]] = {}

    @property
    def valid_LCM(self) -> Tensor:
        """The prototypes that exist; bool."""
        return self._prototypes.valid

    @property
    def valid_LNCM(self) -> Tensor:
        """The numbers of a representation that belong to a prototype; bool."""
        return self._prototypes.valid[:, None].expand(-1, self.class_N.shape[0], -1, -1)

    def of(self, representation: Representation) -> tuple[Tensor, Tensor]:
        """Return the student's and the teacher's, (L, N, C, M) each. The teacher's carries no gradient."""
        if representation not in self._cached:
            bases = self.bases(representation)
            # The first caller may be under no_grad, while later ones need the gradient.
            with torch.set_grad_enabled(self._student_LND.requires_grad):
                student_LNCM = represent(self._student_LND, bases[0])
            self._cached[representation] = (student_LNCM, represent(self._teacher_LNE, bases[1]).detach())
        return self._cached[representation]

    def bases(self, representation: Representation) -> tuple[Tensor, Tensor]:
        """Return the bases that features are multiplied with: student (L, C, M, D) and teacher (L, C, M, E)."""
        prototypes = self._prototypes
        if representation == "cosine":
            return prototypes.student, prototypes.teacher
        return prototypes.student_dual, prototypes.teacher_dual
