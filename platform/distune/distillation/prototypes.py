"""Prototypes of each class on each level, and how they are made: the prototype generation module (PGM).

Shape legend: ``L`` levels, ``C`` classes without background, ``M`` prototypes of a class, ``D`` student channels, ``E``
teacher channels, ``N`` instances.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from distune.distillation.density import dense_candidates
from distune.distillation.pooling import unit
from distune.distillation.pursuit import pursue

__all__ = ["InstanceFeatures", "PrototypeReport", "Prototypes", "make_prototypes", "pursue"]

_RELATIVE_RIDGE = 0.01


@dataclasses.dataclass(frozen=True)
class InstanceFeatures:
    """Features of instances of all classes, from which prototypes are made.

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
    """Fixed-shape tensors, so that they are saved and loaded with a state dict.

    Features are kept at length 1: cosines and pursuit need no more. Row p of the student's and row p of the teacher's
    are the same instance. What is not ``valid`` is zero everywhere, and its origin is -1.

    Attributes:
        student: (L, C, M, D) unit features.
        teacher: (L, C, M, E) unit features of the same instances.
        student_dual: (L, C, M, D); inner products with it are the coefficients of the least-squares fit, with a small
            ridge, on the prototypes of a class. Made once, so that a training step solves nothing.
        teacher_dual: (L, C, M, E).
        valid: (L, C, M) bool.
        origin: (L, C, M, 2) index of the image in its dataset and of the box in that image.
        strides: of the levels, fine to coarse.
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrototypeReport:
    """How the making of prototypes went.

    Attributes:
        instances: how many instances they were selected from.
        per_class: mean number of prototypes of a class on a level.
        classes_without: classes that lack prototypes on some level.
        classes_fell_back: classes where, on some level, no instance passed the density filter and the densest stood in.
        kept_by_density: share of the instances that could become prototypes, 0 to 1.
        repeats: share of the prototypes that are an instance selected before, 0 to 1.
        reconstruction_error: share of the unit features' squared length that the prototypes of their class do not
            rebuild, 0 to 1, over both models.
    """

    instances: int
    per_class: float
    classes_without: int
    classes_fell_back: int
    kept_by_density: float
    repeats: float
    reconstruction_error: float

    def metrics(self) -> dict[str, float]:
        """By metric name, such as ``prototypes/repeats``."""
        return {f"prototypes/{name}": float(value) for name, value in dataclasses.asdict(self).items()}


@dataclasses.dataclass(frozen=True)
class _Selection:
    """What the instances of one class on one level gave."""

    picked_P: Tensor
    num_candidates: int
    fell_back: bool


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
) -> tuple[Prototypes, PrototypeReport]:
    """Selects the prototypes of every class on every level.

    Features that are zero or not finite in either model never become prototypes; a class that has no other is left
    without.

    Args:
        features: the instances; those too small to become prototypes are left out already.
        strides: of the levels, fine to coarse.
        num_classes: without background.
        num_prototypes: of each class on each level, at least 1.
        alpha: ties the coefficients of the two spaces, at least 0.
        unique: select each instance at most once.
        density_bandwidth: width of the density estimate, in cosine distance.
        density_quantile: instances at or below it, in either space, are not selected; 0 keeps all.
    """
    prototypes = Prototypes(
        strides,
        num_classes=num_classes,
        num_prototypes=num_prototypes,
        student_channels=features.student_LND.shape[-1],
        teacher_channels=features.teacher_LNE.shape[-1],
    ).to(features.labels_N.device)
    tally = _Tally(num_classes=num_classes, num_levels=len(strides))
    for class_index in range(num_classes):
        rows_n = (features.labels_N == class_index + 1).nonzero().squeeze(1)
        for level in range(len(strides)):
            student_nD = _unit_or_zero(features.student_LND[level, rows_n])
            teacher_nE = _unit_or_zero(features.teacher_LNE[level, rows_n])
            candidates = dense_candidates(
                student_nD,
                teacher_nE,
                student_nD.any(dim=1) & teacher_nE.any(dim=1),
                bandwidth=density_bandwidth,
                quantile=density_quantile,
                at_least=num_prototypes,
            )
            picked_P = candidates.indices_K
            if picked_P.numel() > 0:
                picked_P = pursue(
                    student_nD, teacher_nE, picked_P, num_prototypes=num_prototypes, alpha=alpha, unique=unique
                )
                place = (level, class_index, slice(picked_P.numel()))
                prototypes.student[place] = student_nD[picked_P].float()
                prototypes.teacher[place] = teacher_nE[picked_P].float()
                prototypes.student_dual[place] = dual_basis(student_nD[picked_P]).float()
                prototypes.teacher_dual[place] = dual_basis(teacher_nE[picked_P]).float()
                prototypes.valid[place] = True
                prototypes.origin[place] = features.origin_N2[rows_n[picked_P]]
            tally.add(
                class_index, _Selection(picked_P, candidates.indices_K.numel(), candidates.fell_back), student_nD, teacher_nE
            )
    return prototypes, tally.report(features.labels_N.numel())


def dual_basis(basis_MD: Tensor) -> Tensor:
    """The rows whose inner products with a feature are its ridge coefficients on the basis: ``(P P' + r I)^-1 P``.

    The ridge r is a hundredth of the mean squared length of the rows: it keeps the coefficients of near-equal
    prototypes small and shared, and those of repeated ones defined.

    Args:
        basis_MD: M vectors of D channels, float64.
    """
    gram_MM = basis_MD @ basis_MD.T
    ridge_MM = torch.eye(len(gram_MM), dtype=gram_MM.dtype, device=gram_MM.device) * gram_MM.diagonal().mean()
    return torch.linalg.solve(gram_MM + _RELATIVE_RIDGE * ridge_MM, basis_MD)


class _Tally:
    """Adds up what the report says."""

    def __init__(self, *, num_classes: int, num_levels: int) -> None:
        self._places = num_classes * num_levels
        self._without: set[int] = set()
        self._fell_back: set[int] = set()
        self._offered = 0
        self._candidates = 0
        self._prototypes = 0
        self._repeats = 0
        self._energy = 0.0
        self._missed = 0.0

    def add(self, class_index: int, selection: _Selection, student_nD: Tensor, teacher_nE: Tensor) -> None:
        picked_P = selection.picked_P
        if picked_P.numel() == 0:
            self._without.add(class_index)
        if selection.fell_back:
            self._fell_back.add(class_index)
        self._offered += student_nD.shape[0]
        self._candidates += selection.num_candidates
        self._prototypes += picked_P.numel()
        self._repeats += picked_P.numel() - picked_P.unique().numel()
        for features in (student_nD, teacher_nE):
            self._energy += float(features.square().sum())
            self._missed += float(_unexplained(features, features[picked_P]))

    def report(self, num_instances: int) -> PrototypeReport:
        return PrototypeReport(
            instances=num_instances,
            per_class=self._prototypes / self._places,
            classes_without=len(self._without),
            classes_fell_back=len(self._fell_back),
            kept_by_density=self._candidates / max(1, self._offered),
            repeats=self._repeats / max(1, self._prototypes),
            reconstruction_error=self._missed / self._energy if self._energy > 0 else 0.0,
        )


def _unit_or_zero(features_nD: Tensor) -> Tensor:
    finite_n1 = features_nD.isfinite().all(dim=1, keepdim=True)
    return unit(torch.where(finite_n1, features_nD, 0.0).double())


def _unexplained(features_nD: Tensor, basis_PD: Tensor) -> Tensor:
    if basis_PD.shape[0] == 0:
        return features_nD.square().sum()
    return (features_nD - (features_nD @ dual_basis(basis_PD).T) @ basis_PD).square().sum()
