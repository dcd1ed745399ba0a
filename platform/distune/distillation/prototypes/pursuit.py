"""Joint matching pursuit: select the instances that best reconstruct all instances in both feature spaces.

Shape legend: ``D`` student channels, ``E`` teacher channels, ``F`` = D + E, ``N`` instances, ``K`` candidates.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from distune.distillation.prototypes.quadratic_forms import JointForms

_RELATIVE_TIE = 1e-12


class GreedyScores(Protocol):
    """Scores of the candidates, given those that are selected."""

    def of_candidates(self) -> Tensor:
        """Return the score of each candidate, (K,); more is better."""
        ...

    def select(self, best: Tensor) -> None:
        """Select one candidate, an index of shape (1,), and update the scores."""
        ...


@torch.no_grad()
def pursue(
    student_ND: Tensor, teacher_NE: Tensor, candidates_K: Tensor, *, num_prototypes: int, alpha: float, unique: bool
) -> Tensor:
    """Select the instances that best reconstruct all instances in both feature spaces.

    Joint matching pursuit (Tang et al., ECCV 2022, arXiv 2210.09022, section 3.2) in closed form: the score of a
    candidate is a quadratic form in the (D+E)-square second moment of the residuals, so the cost of a step does not
    depend on the number of instances. Residuals are over all N instances, the selection over the candidates only.
    Computed in float64; candidates with equal scores are selected in the order of their index.

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
    check_selection(student_ND, teacher_NE, candidates_K, num_prototypes)
    check_alpha(alpha)
    candidates_K = torch.unique(candidates_K)
    scores = _Scores(student_ND, teacher_NE, candidates_K, alpha=alpha)
    return candidates_K[select_greedily(scores, num_prototypes=num_prototypes, unique=unique)]


def select_greedily(scores: GreedyScores, *, num_prototypes: int, unique: bool) -> Tensor:
    """Select the best candidate repeatedly. Of scores that differ by rounding alone, the first one wins.

    Args:
        scores: of the candidates.
        num_prototypes: how many to select, at least 1.
        unique: select each candidate at most once.

    Returns:
        Positions among the candidates, in order of selection.
    """
    score_K = scores.of_candidates()
    slack = _RELATIVE_TIE * score_K.max()
    selected_K = torch.zeros_like(score_K, dtype=torch.bool)
    selected: list[Tensor] = []
    for _ in range(min(num_prototypes, score_K.numel()) if unique else num_prototypes):
        score_K = scores.of_candidates()
        if unique:
            score_K = score_K.masked_fill(selected_K, -torch.inf)
        best = (score_K >= score_K.max() - slack).int().argmax().unsqueeze(0)
        selected_K.index_fill_(0, best, value=True)
        scores.select(best)
        selected.append(best)
    return torch.cat(selected)


class _Scores:
    """Decrease of the summed error with each candidate: ``(p C p + tie q C q) / 2``, tie = 1 / (1 + 2 alpha).

    For a candidate p = [s; t] and q = [s; -t]; C is the second moment of the residuals [r^s; r^t]. Selecting a
    candidate maps every residual by ``T = I - p p/2 - tie q q/2``, hence C to T C T. Both forms of all candidates
    follow from a few inner products with p, q, C p and C q, so a step costs (K + F) F and not K F^2.
    """

    def __init__(self, student_ND: Tensor, teacher_NE: Tensor, candidates_K: Tensor, *, alpha: float) -> None:
        self._forms = JointForms(student_ND, teacher_NE, candidates_K)
        self._moment_FF = self._forms.moment_FF
        self._alpha = alpha

    def of_candidates(self) -> Tensor:
        """Return the score of each candidate, (K,)."""
        return self._forms.scores(alpha=self._alpha)

    def select(self, best: Tensor) -> None:
        """Subtract the projection on one candidate, an index of shape (1,), from every residual."""
        student_1D, teacher_1E = self._forms.features(best)
        pair_2F = torch.cat([torch.cat([student_1D, teacher_1E], dim=1), torch.cat([student_1D, -teacher_1E], dim=1)])
        scaled_2F = torch.cat([pair_2F[:1], pair_2F[1:] / (1 + 2 * self._alpha)]) / 2  # T = I - pair' scaled
        image_2F = pair_2F @ self._moment_FF
        self._forms.update(scaled_2F, image_2F, image_2F @ pair_2F.T)
        half_FF = self._moment_FF - scaled_2F.T @ image_2F
        self._moment_FF = half_FF - (half_FF @ pair_2F.T) @ scaled_2F


def check_selection(student_ND: Tensor, teacher_NE: Tensor, candidates_K: Tensor, num_prototypes: int) -> None:
    """Raise ``ValueError`` for arguments that no selector accepts."""
    if student_ND.shape[0] != teacher_NE.shape[0]:
        raise ValueError(
            f"the student has {student_ND.shape[0]} instances and the teacher {teacher_NE.shape[0]}; "
            "both must hold the same instances, row by row"
        )
    if candidates_K.numel() == 0:
        raise ValueError("there is no candidate to select from; give at least one")
    if num_prototypes < 1:
        raise ValueError(f"num_prototypes = {num_prototypes} must be at least 1")


def check_alpha(alpha: float) -> None:
    """Raise ``ValueError`` for a negative alpha."""
    if alpha < 0:
        raise ValueError(f"alpha = {alpha} must be at least 0")
