"""Joint orthogonal matching pursuit: joint matching pursuit that refits all coefficients after each selection.

Shape legend: ``D`` student channels, ``E`` teacher channels, ``F`` = D + E, ``N`` instances, ``K`` candidates, ``G``
orthonormal directions, two per selected instance.
"""

from __future__ import annotations

import torch
from torch import Tensor

from distune.distillation.prototypes.pursuit import check_alpha, check_selection, select_greedily
from distune.distillation.prototypes.quadratic_forms import JointForms

_RELATIVE_RANK = 1e-10


@torch.no_grad()
def pursue_orthogonally(
    student_ND: Tensor, teacher_NE: Tensor, candidates_K: Tensor, *, num_prototypes: int, alpha: float
) -> Tensor:
    """Select the instances that best reconstruct all instances in both spaces, and refit all coefficients.

    Orthogonal matching pursuit (Pati, Rezaiifar and Krishnaprasad, Asilomar 1993) on the joint objective of Tang et
    al. (ECCV 2022, arXiv 2210.09022, section 3.2). A candidate scores as in ``pursue``: by how much
    ``|r^s - w_s g^s|^2 + |r^t - w_t g^t|^2 + alpha (w_s - w_t)^2``, summed over all instances, falls at its best
    coefficients. After each selection the coefficients of all selected S minimize, for every instance,
    ``|f^s - sum_k w_sk g^s_k|^2 + |f^t - sum_k w_tk g^t_k|^2 + alpha sum_k (w_sk - w_tk)^2``, and the residuals
    are those of this fit.

    The fit is a projection: append to ``[f^s; f^t]`` a zero for each selected k, which then spans the two directions
    ``[g^s_k; 0; sqrt(alpha) e_k]`` and ``[0; g^t_k; -sqrt(alpha) e_k]``. Made orthonormal one selection at a time, with
    feature parts O (G, F), they leave the residuals ``(I - O' O) f``. So all scores follow from the second moment of
    the features, and nothing in the loop depends on N. Computed in float64; candidates with equal scores are selected
    in the order of their index, and no instance twice.

    Args:
        student_ND: unit-norm student features of N instances, D channels, float32 or float64.
        teacher_NE: unit-norm teacher features of the same instances, E channels.
        candidates_K: indices into the N instances that may be selected.
        num_prototypes: how many to select, at least 1.
        alpha: weight that ties the coefficients of the two spaces, at least 0.

    Returns:
        Indices of the selected instances, in order of selection, (min(num_prototypes, K),).

    Raises:
        ValueError: the two spaces hold different numbers of instances, there is no candidate, ``num_prototypes`` is
            below 1, or ``alpha`` is negative.
    """
    check_selection(student_ND, teacher_NE, candidates_K, num_prototypes)
    check_alpha(alpha)
    candidates_K = torch.unique(candidates_K)
    scores = _RefitScores(student_ND, teacher_NE, candidates_K, alpha=alpha)
    return candidates_K[select_greedily(scores, num_prototypes=num_prototypes, unique=True)]


class _RefitScores:
    """Scores as of ``pursue``, where C is the second moment of the refitted residuals, T C0 T with ``T = I - O' O``.

    A selection adds two rows to O, so that every vector T p loses ``o' (o p)``, and the forms of all candidates change
    by a few inner products: a step costs (K + F) F.
    """

    def __init__(self, student_ND: Tensor, teacher_NE: Tensor, candidates_K: Tensor, *, alpha: float) -> None:
        self._forms = JointForms(student_ND, teacher_NE, candidates_K)
        self._directions_GF = self._forms.moment_FF[:0]
        self._alpha = alpha

    def of_candidates(self) -> Tensor:
        """Return the score of each candidate, (K,)."""
        return self._forms.scores(alpha=self._alpha)

    def select(self, best: Tensor) -> None:
        """Add one candidate, an index of shape (1,), to the fit."""
        new_2F = self._new_directions(*self._forms.features(best))
        image_2F = new_2F @ self._forms.moment_FF
        self._forms.update(new_2F, self._residual(image_2F), image_2F @ new_2F.T)
        self._directions_GF = torch.cat([self._directions_GF, new_2F])

    def _new_directions(self, student_1D: Tensor, teacher_1E: Tensor) -> Tensor:
        """Return the feature parts of a candidate's two directions, orthonormal to all before, or zero."""
        pair_2F = torch.cat([student_1D, torch.zeros_like(teacher_1E)], dim=1)
        pair_2F = torch.cat([pair_2F, torch.cat([torch.zeros_like(student_1D), teacher_1E], dim=1)])
        projection_2G = pair_2F @ self._directions_GF.T
        tie_22 = self._alpha * torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=pair_2F.dtype, device=pair_2F.device)
        gram_22 = pair_2F @ pair_2F.T + tie_22
        values_2, vectors_22 = torch.linalg.eigh(gram_22 - projection_2G @ projection_2G.T)
        is_new_2 = values_2 > _RELATIVE_RANK * gram_22.diagonal().amax()
        scale_2 = torch.where(is_new_2, values_2, 1.0).rsqrt() * is_new_2
        new_2F: Tensor = (vectors_22 * scale_2).T @ self._residual(pair_2F)
        return new_2F

    def _residual(self, rows_2F: Tensor) -> Tensor:
        return rows_2F - (rows_2F @ self._directions_GF.T) @ self._directions_GF
