"""Joint matching pursuit: which instances, taken as a basis in both feature spaces, best rebuild all of them.

Shape legend: ``D`` student channels, ``E`` teacher channels, ``F`` = D + E, ``N`` instances, ``K`` candidates.
"""

from __future__ import annotations

import torch
from torch import Tensor

_RELATIVE_TIE = 1e-12


def pursue(
    student_ND: Tensor, teacher_NE: Tensor, candidates_K: Tensor, *, num_prototypes: int, alpha: float, unique: bool
) -> Tensor:
    """Select the instances that best rebuild all instances in both feature spaces.

    Joint matching pursuit (Tang et al., ECCV 2022, arXiv 2210.09022, section 3.2) in closed form: the score of a
    candidate is a quadratic form in the (D+E)-square second moment of the residuals, so the cost of a step does not
    depend on the number of instances. Residuals are over all N instances, the selection over the candidates only.
    Computed in float64; candidates that score alike are taken in the order of their index.

    Args:
        student_ND: unit-norm student features of N instances, D channels, float32 or float64.
        teacher_NE: unit-norm teacher features of the same instances, E channels.
        candidates_K: indices into the N instances that may be selected.
        num_prototypes: how many to select, at least 1.
        alpha: weight that ties the coefficients of the two spaces, at least 0. The paper uses 10.
        unique: select each instance at most once. ``False`` reproduces the authors' release.

    Returns:
        Indices of the selected instances, in order of selection, shape (min(num_prototypes, K),) when unique and
        (num_prototypes,) when not.

    Raises:
        ValueError: the two spaces hold different numbers of instances, there is no candidate, ``num_prototypes`` is
            below 1, or ``alpha`` is negative.
    """
    _check(student_ND, teacher_NE, candidates_K, num_prototypes, alpha)
    student_ND, teacher_NE = student_ND.double(), teacher_NE.double()
    candidates_K = torch.unique(candidates_K)
    tie = 1 / (1 + 2 * alpha)
    both_NF = torch.cat([student_ND, teacher_NE], dim=1)
    plus_KF = both_NF[candidates_K]
    minus_KF = torch.cat([student_ND[candidates_K], -teacher_NE[candidates_K]], dim=1)
    moment_FF = both_NF.T @ both_NF

    taken_K = torch.zeros_like(candidates_K, dtype=torch.bool)
    slack: Tensor | None = None
    selected: list[Tensor] = []
    for _ in range(min(num_prototypes, candidates_K.numel()) if unique else num_prototypes):
        score_K = _scores(plus_KF, moment_FF, num_student=student_ND.shape[1], tie=tie)
        if slack is None:
            slack = _RELATIVE_TIE * score_K.max()
        if unique:
            score_K = score_K.masked_fill(taken_K, -torch.inf)
        best = (score_K >= score_K.max() - slack).int().argmax().unsqueeze(0)
        taken_K.index_fill_(0, best, value=True)
        moment_FF = _without(moment_FF, plus_KF[best], minus_KF[best], tie)
        selected.append(candidates_K[best])
    return torch.cat(selected)


def _scores(plus_KF: Tensor, moment_FF: Tensor, *, num_student: int, tie: float) -> Tensor:
    """``p C p / 2 + q C q / (2 (1 + 2 alpha))`` of each candidate, for p = [s; t] and q = [s; -t].

    Both forms share the blocks of C: with u = sCs + tCt and v = sCt, ``pCp = u + 2v`` and ``qCq = u - 2v``.
    """
    student_KD, teacher_KE = plus_KF[:, :num_student], plus_KF[:, num_student:]
    within_K = ((student_KD @ moment_FF[:num_student, :num_student]) * student_KD).sum(dim=1)
    within_K += ((teacher_KE @ moment_FF[num_student:, num_student:]) * teacher_KE).sum(dim=1)
    across_K = ((student_KD @ moment_FF[:num_student, num_student:]) * teacher_KE).sum(dim=1)
    return (within_K + 2 * across_K) / 2 + tie * (within_K - 2 * across_K) / 2


def _without(moment_FF: Tensor, plus_1F: Tensor, minus_1F: Tensor, tie: float) -> Tensor:
    """``T C T`` for ``T = I - p p/2 - q q/(2 (1 + 2 alpha))``: the second moment after every instance took p's part."""
    half_FF = moment_FF - (plus_1F.T @ (plus_1F @ moment_FF) + tie * (minus_1F.T @ (minus_1F @ moment_FF))) / 2
    return half_FF - ((half_FF @ plus_1F.T) @ plus_1F + tie * ((half_FF @ minus_1F.T) @ minus_1F)) / 2


def _check(student_ND: Tensor, teacher_NE: Tensor, candidates_K: Tensor, num_prototypes: int, alpha: float) -> None:
    if student_ND.shape[0] != teacher_NE.shape[0]:
        raise ValueError(
            f"the student has {student_ND.shape[0]} instances and the teacher {teacher_NE.shape[0]}; "
            "both must hold the same instances, row by row"
        )
    if candidates_K.numel() == 0:
        raise ValueError("there is no candidate to select from; give at least one")
    if num_prototypes < 1:
        raise ValueError(f"num_prototypes = {num_prototypes} must be at least 1")
    if alpha < 0:
        raise ValueError(f"alpha = {alpha} must be at least 0")
