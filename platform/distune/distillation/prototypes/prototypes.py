"""Prototypes of each class on each level, and their selection: the prototype generation module (PGM).

Shape legend: ``L`` levels, ``C`` classes without background, ``M`` prototypes of a class, ``D`` student channels, ``E``
teacher channels, ``N`` instances.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor, nn

from distune.distillation.maps.pooling import PooledFeatures, l2_normalize
from distune.distillation.prototypes.density import dense_candidates
from distune.distillation.prototypes.prototype_report import PrototypeReport, ReportAccumulator
from distune.distillation.prototypes.ridge import dual_bases, dual_basis
from distune.distillation.prototypes.selectors import SELECTORS, SelectionOptions


@dataclasses.dataclass(frozen=True)
class InstanceFeatures:
    """Features of instances of all classes, from which prototypes are selected.

    Attributes:
        student_LND: pooled student features, float32.
        teacher_LNE: pooled teacher features of the same instances.
        labels_N: 1 to C.
        origin_N2: index of the image in its dataset and of the box in that image.
        counted_LN: bool, the levels on which each instance counts; None counts all on all.
    """

    student_LND: Tensor
    teacher_LNE: Tensor
    labels_N: Tensor
    origin_N2: Tensor
    counted_LN: Tensor | None = None

    @property
    def counts_LN(self) -> Tensor:
        """``counted_LN``, also where it is None."""
        if self.counted_LN is not None:
            return self.counted_LN
        return torch.ones(self.student_LND.shape[:2], dtype=torch.bool, device=self.labels_N.device)


class Prototypes(nn.Module):
    """The prototypes of each class on each level, as buffers of fixed shape.

    Features have length 1. Row p of the student's and row p of the teacher's are the same view of the same instance.
    Prototypes that are not ``valid`` are zero, and their origin is -1.

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
            ridge, on the prototypes of a class as they were when the duals were last computed.
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

    @torch.no_grad()
    def refresh(self, features: PooledFeatures, origin_N2: Tensor) -> None:
        """Replace the features of prototypes whose instance is in a batch, in both models. Waits for no device.

        Their duals stay until ``update_duals``. A feature that is zero or not finite replaces none.

        Args:
            features: of the instances of the batch, centered as those that prototypes are made of.
            origin_N2: of these instances; unknown ones are negative.
        """
        if origin_N2.shape[0] == 0:
            return
        origin_LP12 = self.origin.flatten(1, 2)[:, :, None]
        is_same_LPN = (origin_LP12 == origin_N2).all(dim=3) & (origin_N2 >= 0).all(dim=1)
        row_LP = is_same_LPN.int().argmax(dim=2)
        found_LP = is_same_LPN.any(dim=2)
        student_LPD, teacher_LPE = (
            torch.take_along_dim(_finite_unit(each), row_LP[:, :, None], dim=1)
            for each in (features.student_LND.detach(), features.teacher_LNE)
        )
        found_LP = found_LP & student_LPD.any(dim=2) & teacher_LPE.any(dim=2)
        found_LCM1 = found_LP.reshape(self.valid.shape)[..., None]
        # Not in place: an earlier step's graph may still need the former values.
        self.student = torch.where(found_LCM1, student_LPD.reshape(self.student.shape), self.student)
        self.teacher = torch.where(found_LCM1, teacher_LPE.reshape(self.teacher.shape), self.teacher)

    @torch.no_grad()
    def update_duals(self) -> None:
        """Compute the duals of the present features. Waits for the device."""
        self.student_dual.copy_(dual_bases(self.student.double(), self.valid))
        self.teacher_dual.copy_(dual_bases(self.teacher.double(), self.valid))


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

    Features that are zero or not finite in either model never become prototypes, so a class may get none. An instance
    takes no part on the levels on which it does not count.

    Args:
        features: the instances that are large enough to become prototypes, centered if features are.
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
    counts_LN = features.counts_LN
    for class_index in range(num_classes):
        for level in range(len(strides)):
            rows_n = ((features.labels_N == class_index + 1) & counts_LN[level]).nonzero().squeeze(1)
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
    return _finite_unit(features_nD.double())


def _finite_unit(features_XD: Tensor) -> Tensor:
    finite_X1 = features_XD.isfinite().all(dim=-1, keepdim=True)
    return l2_normalize(torch.where(finite_X1, features_XD, 0.0))


def derive_seed(*numbers: int) -> int:
    """Return one seed, 0 to 2^32 - 1, that depends on all given numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
