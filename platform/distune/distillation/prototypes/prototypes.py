"""Prototypes of each class on each level, and their selection: the prototype generation module (PGM).

Shape legend: ``L`` levels, ``C`` classes without background, ``M`` prototypes of a class, ``D`` student channels, ``E``
teacher channels, ``N`` instances.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor, nn

from distune.distillation.maps.pooling import l2_normalize
from distune.distillation.prototypes.density import dense_candidates
from distune.distillation.prototypes.prototype_report import PrototypeReport, ReportAccumulator
from distune.distillation.prototypes.ridge import dual_basis
from distune.distillation.prototypes.selectors import SELECTORS, SelectionOptions


@dataclasses.dataclass(frozen=True)
class InstanceFeatures:
    """Features of instances of all classes, from which prototypes are selected.

    Attributes:
        student_LND: pooled student features, float32.
        teacher_LNE: pooled teacher features of the same instances.
        labels_N: 1 to C.
        origin_N2: index of the image in its dataset and of the box in that image.
    """

    student_LND: Tensor
    teacher_LNE: Tensor
    labels_N: Tensor
    origin_N2: Tensor


class Prototypes(nn.Module):
    """The prototypes of each class on each level, as buffers of fixed shape.

    Features have length 1. Row p of the student's and row p of the teacher's are the same instance. Prototypes that are
    not ``valid`` are zero, and their origin is -1.

    Args:
        strides: of the levels, fine to coarse.
        num_classes: C, without background.
        num_prototypes: M, the largest number of prototypes of a class on a level.
        student_channels: D.
        teacher_channels: E.

    Attributes:
        student: (L, C, M, D) unit features.
        teacher: (L, C, M, E) unit features of the same instances.
        student_dual: (L, C, M, D); inner products with it are the coefficients of the least-squares fit, with a small
            ridge, on the prototypes of a class.
        teacher_dual: (L, C, M, E).
        valid: (L, C, M) bool.
        origin: (L, C, M, 2) index of the image in its dataset and of the box in that image.
    """

    student: Tensor
    teacher: Tensor
    student_dual: Tensor
    teacher_dual: Tensor
    valid: Tensor
    origin: Tensor

    def __init__(
        self,
        strides: tuple[int, ...],
        *,
        num_classes: int,
        num_prototypes: int,
        student_channels: int,
        teacher_channels: int,
    ) -> None:
        super().__init__()
        self.strides = strides
        shape = (len(strides), num_classes, num_prototypes)
        self.register_buffer("student", torch.zeros(*shape, student_channels))
        self.register_buffer("teacher", torch.zeros(*shape, teacher_channels))
        self.register_buffer("student_dual", torch.zeros(*shape, student_channels))
        self.register_buffer("teacher_dual", torch.zeros(*shape, teacher_channels))
        self.register_buffer("valid", torch.zeros(shape, dtype=torch.bool))
        self.register_buffer("origin", torch.full((*shape, 2), -1, dtype=torch.int64))

    def put(self, level: int, class_index: int, student_PD: Tensor, teacher_PE: Tensor, origin_P2: Tensor) -> None:
        """Set the prototypes of one class on one level.

        Args:
            level: index into ``strides``.
            class_index: 0 for label 1.
            student_PD: unit features of P instances, at most M, float64.
            teacher_PE: the same instances.
            origin_P2: their origins.
        """
        index = (level, class_index, slice(student_PD.shape[0]))
        self.student[index] = student_PD.float()
        self.teacher[index] = teacher_PE.float()
        self.student_dual[index] = dual_basis(student_PD).float()
        self.teacher_dual[index] = dual_basis(teacher_PE).float()
        self.valid[index] = True
        self.origin[index] = origin_P2


def make_prototypes(
    features: InstanceFeatures,
    strides: tuple[int, ...],
    *,
    num_classes: int,
    num_prototypes: int,
    alpha: float,
    unique: bool,
    density_bandwidth: float,
    density_quantile: float,
    selector: str = "pursuit",
    seed: int = 0,
) -> tuple[Prototypes, PrototypeReport]:
    """Select the prototypes of every class on every level.

    Features that are zero or not finite in either model never become prototypes, so a class may get none.

    Args:
        features: the instances that are large enough to become prototypes.
        strides: of the levels, fine to coarse.
        num_classes: without background.
        num_prototypes: of each class on each level, at least 1.
        alpha: ties the coefficients of the two spaces, at least 0; for the two pursuits.
        unique: select each instance at most once; ``pursuit`` alone can do otherwise.
        density_bandwidth: width of the density estimate, in cosine distance.
        density_quantile: instances at or below it, in either space, are not selected; 0 keeps all.
        selector: a name in ``SELECTORS``.
        seed: of the random numbers of the selection, at least 0. Every class and level gets its own.

    Returns:
        The prototypes, and figures about their selection.
    """
    prototypes = Prototypes(
        strides,
        num_classes=num_classes,
        num_prototypes=num_prototypes,
        student_channels=features.student_LND.shape[-1],
        teacher_channels=features.teacher_LNE.shape[-1],
    ).to(features.labels_N.device)
    accumulator = ReportAccumulator(num_selections=num_classes * len(strides))
    for class_index in range(num_classes):
        rows_n = (features.labels_N == class_index + 1).nonzero().squeeze(1)
        for level in range(len(strides)):
            selection_seed = derive_seed(seed, class_index, level)
            student_nD = _normalize_or_zero(features.student_LND[level, rows_n])
            teacher_nE = _normalize_or_zero(features.teacher_LNE[level, rows_n])
            candidates = dense_candidates(
                student_nD,
                teacher_nE,
                student_nD.any(dim=1) & teacher_nE.any(dim=1),
                bandwidth=density_bandwidth,
                quantile=density_quantile,
                at_least=num_prototypes,
                seed=selection_seed,
            )
            selected_P = candidates.indices_K
            if selected_P.numel() > 0:
                options = SelectionOptions(
                    num_prototypes=num_prototypes, alpha=alpha, unique=unique, seed=selection_seed
                )
                selected_P = SELECTORS[selector](student_nD, teacher_nE, selected_P, options)
                origin_P2 = features.origin_N2[rows_n[selected_P]]
                prototypes.put(level, class_index, student_nD[selected_P], teacher_nE[selected_P], origin_P2)
            accumulator.update(class_index, student_nD, teacher_nE, candidates, selected_P)
    return prototypes, accumulator.compute(features.labels_N.numel())


def _normalize_or_zero(features_nD: Tensor) -> Tensor:
    finite_n1 = features_nD.isfinite().all(dim=1, keepdim=True)
    return l2_normalize(torch.where(finite_n1, features_nD, 0.0).double())


def derive_seed(*numbers: int) -> int:
    """Return one seed, 0 to 2^32 - 1, that depends on all given numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
