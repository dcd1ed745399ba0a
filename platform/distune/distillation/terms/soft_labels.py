"""The soft labels term: the teacher's class scores as targets on the student's positive prediction sites.

Shape legend: ``R`` prediction sites of the batch, ``K`` class logits with background first, ``N`` instances.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from distune.config.distillation import DistillationSettings
from distune.distillation.term import Step, TermContext

Reduction = Literal["batchmean", "mean"]


def softmax_divergence(student_RK: Tensor, teacher_RK: Tensor) -> Tensor:
    """Return ``KL(p^t || p^s) = sum_c p^t_c (log p^t_c - log p^s_c)`` of softmax scores, (R,)."""
    log_student_RK = student_RK.log_softmax(dim=1)
    log_teacher_RK = teacher_RK.log_softmax(dim=1)
    return (log_teacher_RK.exp() * (log_teacher_RK - log_student_RK)).sum(dim=1)


def sigmoid_divergence(student_RK: Tensor, teacher_RK: Tensor) -> Tensor:
    """Return ``sum_c KL(Bernoulli(p^t_c) || Bernoulli(p^s_c))`` of sigmoid scores, (R,).

    In logits: ``p^t (z^t - z^s) + softplus(z^s) - softplus(z^t)``.
    """
    divergence_RK = teacher_RK.sigmoid() * (teacher_RK - student_RK)
    divergence_RK = divergence_RK + functional.softplus(student_RK) - functional.softplus(teacher_RK)
    return divergence_RK.clamp(min=0).sum(dim=1)  # rounding may bring equal scores below 0


def soft_label_loss(
    student_RK: Tensor,
    teacher_RK: Tensor,
    weights_R: Tensor,
    positive_R: Tensor,
    *,
    score_kind: str,
    temperature: float,
    reduction: Reduction,
) -> Tensor:
    """Return the weighted divergence between the models' class scores at temperature T over positive sites.

    ``T^2 / n sum_r w_r KL(p^t_r || p^s_r)`` with ``p = softmax(z/T)`` or ``sigmoid(z/T)`` and n the number of positive
    sites, at least 1 (``batchmean``), or that times the number of scores of a site (``mean``, the release of arXiv
    2210.09022). T^2 keeps the gradient's size when T changes (Hinton et al., arXiv 1503.02531, section 2.1). The first
    logit of a sigmoid head is torchvision's unused background and takes no part.

    Args:
        student_RK: logits at R sites, with gradient.
        teacher_RK: the teacher's at the same sites; no gradient flows into them.
        weights_R: of the instance that a site is matched to.
        positive_R: bool; the other sites take no part.
        score_kind: ``softmax`` or ``sigmoid``.
        temperature: T, more than 0.
        reduction: ``batchmean`` or ``mean``.

    Returns:
        A scalar.
    """
    if score_kind == "sigmoid":
        student_RK, teacher_RK = student_RK[:, 1:], teacher_RK[:, 1:]
    divergence = sigmoid_divergence if score_kind == "sigmoid" else softmax_divergence
    divergence_R = divergence(student_RK / temperature, teacher_RK.detach() / temperature)
    total = torch.where(positive_R, weights_R.detach() * divergence_R, 0.0).sum()
    num_positive = positive_R.sum().clamp(min=1)
    num_scores = student_RK.shape[1] if reduction == "mean" else 1
    return temperature**2 * total / (num_positive * num_scores)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SoftLabels:
    """The term. A prediction site has the mean weight of its instance over the levels."""

    score_kind: str
    temperature: float
    reduction: Reduction
    robust: bool = True
    needs_prototypes: bool = False

    def __call__(self, step: Step) -> Tensor:
        """Return the loss of a step."""
        sites = step.student.prediction_sites
        return soft_label_loss(
            sites.logits_RC.float(),
            step.teacher.logits_at(sites).float(),
            step.site_weights(robust=self.robust),
            sites.positive_R,
            score_kind=self.score_kind,
            temperature=self.temperature,
            reduction=self.reduction,
        )


def build_soft_labels(settings: DistillationSettings, context: TermContext) -> SoftLabels:
    """Build the term."""
    soft = settings.soft_labels
    return SoftLabels(
        score_kind=context.score_kind, temperature=soft.temperature, reduction=soft.reduction, robust=soft.robust
    )
