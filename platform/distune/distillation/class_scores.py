"""Class probabilities at prediction sites, and the disagreement of two models about them.

Shape legend: ``R`` prediction sites of the batch, ``K`` class logits with background first, ``C`` classes without it.
"""

from __future__ import annotations

from torch import Tensor


def class_probabilities(logits_RK: Tensor, *, score_kind: str) -> Tensor:
    """Return the probability of each class at each site, without background and without gradient.

    Args:
        logits_RK: float32. The first logit is that of background (``softmax``), or unused (``sigmoid``).
        score_kind: ``softmax`` or ``sigmoid``.

    Returns:
        (R, C), 0 to 1.
    """
    logits_RK = logits_RK.detach()
    return logits_RK[:, 1:].sigmoid() if score_kind == "sigmoid" else logits_RK.softmax(dim=1)[:, 1:]


def disagreement(student_RK: Tensor, teacher_RK: Tensor, *, score_kind: str) -> Tensor:
    """Return ``|p^t_rc - p^s_rc|`` for each site and class, without gradient; (R, C), 0 to 1."""
    teacher_RC = class_probabilities(teacher_RK, score_kind=score_kind)
    return (teacher_RC - class_probabilities(student_RK, score_kind=score_kind)).abs()


def total_variation(student_RK: Tensor, teacher_RK: Tensor) -> Tensor:
    """Return ``1/2 sum_c |p^t_rc - p^s_rc|`` of softmax scores, background included, without gradient; (R,), 0 to 1."""
    return (teacher_RK.detach().softmax(dim=1) - student_RK.detach().softmax(dim=1)).abs().sum(dim=1) / 2
