"""Quadratic forms of the candidates in the second moment of the residuals, which both pursuits use.

Shape legend: ``D`` student channels, ``E`` teacher channels, ``F`` = D + E, ``N`` instances, ``K`` candidates.
"""

from __future__ import annotations

import torch
from torch import Tensor

_ROWS_PER_BLOCK = 2_048


class JointForms:
    """The quadratic forms ``p C p`` and ``q C q`` of every candidate, p = [s; t] and q = [s; -t].

    C is the second moment of the residuals [r^s; r^t] of all instances, (F, F). It is computed once, and nothing after
    that depends on N: ``update`` applies a change of the residuals to the forms. In float64.

    Args:
        student_ND: unit-norm student features of N instances.
        teacher_NE: unit-norm teacher features of the same instances.
        candidates_K: indices into the N instances.

    Attributes:
        moment_FF: the second moment of the features themselves.
    """

    def __init__(self, student_ND: Tensor, teacher_NE: Tensor, candidates_K: Tensor) -> None:
        student_ND, teacher_NE = student_ND.double(), teacher_NE.double()
        self._student_KD = student_ND[candidates_K]
        self._teacher_KE = teacher_NE[candidates_K]
        within_s_DD, within_t_EE = student_ND.T @ student_ND, teacher_NE.T @ teacher_NE
        between_DE = student_ND.T @ teacher_NE
        self.moment_FF = torch.cat(
            [torch.cat([within_s_DD, between_DE], dim=1), torch.cat([between_DE.T, within_t_EE], dim=1)]
        )
        same_K = _form(self._student_KD, within_s_DD, self._student_KD)
        same_K += _form(self._teacher_KE, within_t_EE, self._teacher_KE)
        cross_K = 2 * _form(self._student_KD, between_DE, self._teacher_KE)
        self._plus_form_K, self._minus_form_K = same_K + cross_K, same_K - cross_K

    def scores(self, *, alpha: float) -> Tensor:
        """Return the decrease of the error with each candidate, ``(p C p + q C q / (1 + 2 alpha)) / 2``, (K,)."""
        return (self._plus_form_K + self._minus_form_K / (1 + 2 * alpha)) / 2

    def features(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features of one candidate, an index of shape (1,): (1, D) and (1, E)."""
        return self._student_KD[index], self._teacher_KE[index]

    def update(self, selected_2F: Tensor, image_2F: Tensor, inner_22: Tensor) -> None:
        """Add ``c (inner c - 2 image x)`` with ``c = selected x`` to the form of every vector x, all p and q.

        A form ``x C x`` changes by this when C becomes ``(I - Y' selected)' C (I - Y' selected)``, with
        ``image = Y C`` and ``inner = Y C Y'``.
        """
        num_student = self._student_KD.shape[1]
        both_4F = torch.cat([selected_2F, image_2F])
        student_K4 = self._student_KD @ both_4F[:, :num_student].T
        teacher_K4 = self._teacher_KE @ both_4F[:, num_student:].T
        for form_K, products_K4 in (
            (self._plus_form_K, student_K4 + teacher_K4),
            (self._minus_form_K, student_K4 - teacher_K4),
        ):
            coefficient_K2, image_K2 = products_K4[:, :2], products_K4[:, 2:]
            form_K += (coefficient_K2 * (coefficient_K2 @ inner_22 - 2 * image_K2)).sum(dim=1)


def _form(left_KD: Tensor, middle_DE: Tensor, right_KE: Tensor) -> Tensor:
    """Return ``left_k middle right_k`` for every k, (K,), some rows at a time."""
    pairs = zip(*(torch.split(each, _ROWS_PER_BLOCK) for each in (left_KD, right_KE)), strict=True)
    return torch.cat([((left_bD @ middle_DE) * right_bE).sum(dim=1) for left_bD, right_bE in pairs])
