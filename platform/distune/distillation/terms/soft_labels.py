"""The soft labels term: the teacher's class scores as targets on the student's prediction sites.

Shape legend: ``R`` prediction sites of the batch, ``K`` class logits with background first, ``C`` classes without it,
``N`` instances.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from distune.config.distillation import DistillationSettings
from distune.distillation.class_scores import disagreement, total_variation
from distune.distillation.term import Step, TermContext

Reduction = Literal["batchmean", "mean"]


def softmax_divergence(student_RK: Tensor, teacher_RK: Tensor) -> Tensor:
    """Return ``KL(p^t || p^s) = sum_c p^t_c (log p^t_c - log p^s_c)`` of softmax scores, (R,)."""
    log_student_RK = student_RK.log_softmax(dim=1)
    log_teacher_RK = teacher_RK.log_softmax(dim=1)
    return (log_teacher_RK.exp() * (log_teacher_RK - log_student_RK)).sum(dim=1)


def bernoulli_divergence(student_RC: Tensor, teacher_RC: Tensor) -> Tensor:
    """Return ``KL(Bernoulli(p^t_c) || Bernoulli(p^s_c))`` of sigmoid scores for each class, (R, C).

    In logits: ``p^t (z^t - z^s) + softplus(z^s) - softplus(z^t)``.
    """
    divergence_RC = teacher_RC.sigmoid() * (teacher_RC - student_RC)
    divergence_RC = divergence_RC + functional.softplus(student_RC) - functional.softplus(teacher_RC)
    return divergence_RC.clamp(min=0)  # rounding may bring equal scores below 0


def sigmoid_divergence(student_RC: Tensor, teacher_RC: Tensor) -> Tensor:
    """Return ``sum_c KL(Bernoulli(p^t_c) || Bernoulli(p^s_c))`` of sigmoid scores, (R,)."""
    return bernoulli_divergence(student_RC, teacher_RC).sum(dim=1)


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


def dense_soft_label_loss(
    student_RK: Tensor,
    teacher_RK: Tensor,
    weights_R: Tensor,
    positive_R: Tensor,
    *,
    score_kind: str,
    temperature: float,
    focus: float,
    reduction: Reduction,
) -> Tensor:
    """Return the divergence between the models' class scores over all sites, weighted by their disagreement.

    ``T^2 / n sum_r w_r sum_c |p^t_rc - p^s_rc|^g KL(Bernoulli(q^t_rc) || Bernoulli(q^s_rc))`` of sigmoid scores, with
    ``q = sigmoid(z/T)``, g the ``focus`` and n as in ``soft_label_loss``, which is also what a focal loss is divided by.
    The disagreement is one of the scores themselves, ``p = sigmoid(z)`` at temperature 1, and a constant to the
    gradient. It is small at the thousands of sites on which both models see background, so these do not outweigh the
    few that matter. After Yang et al., "Bridging Cross-task Protocol Inconsistency for Distillation in Dense Object
    Detection", ICCV 2023, arXiv 2308.14286 (g = 1, T = 1), and Wang et al., "CrossKD", CVPR 2024, arXiv 2306.11369,
    whose loss of class scores has this form. Departs from both: T, and a divergence instead of a cross entropy, which
    has the same gradient and is 0 when student equals teacher.

    Softmax scores, as of SSD, are one distribution per site: ``T^2 / n sum_r w_r v_r^g KL(q^t_r || q^s_r)`` with the
    total variation ``v_r = 1/2 sum_c |p^t_rc - p^s_rc|``, background included.

    Args:
        student_RK: logits at R sites, with gradient.
        teacher_RK: the teacher's at the same sites; no gradient flows into them.
        weights_R: of each site, at least 0; a site of weight 0 takes no part.
        positive_R: bool; only their number matters.
        score_kind: ``softmax`` or ``sigmoid``.
        temperature: T, more than 0.
        focus: g, at least 0; 0 weights all sites alike.
        reduction: ``batchmean``, or ``mean`` to divide by the number of scores of a site as well.

    Returns:
        A scalar.
    """
    if score_kind == "sigmoid":
        focus_RC = disagreement(student_RK, teacher_RK, score_kind=score_kind) ** focus
        student_RK, teacher_RK = student_RK[:, 1:], teacher_RK[:, 1:]
        divergence_RC = bernoulli_divergence(student_RK / temperature, teacher_RK.detach() / temperature)
        divergence_R = (focus_RC * divergence_RC).sum(dim=1)
    else:
        focus_R = total_variation(student_RK, teacher_RK) ** focus
        divergence_R = focus_R * softmax_divergence(student_RK / temperature, teacher_RK.detach() / temperature)
    weights_R = weights_R.detach()
    total = torch.where(weights_R > 0, weights_R * divergence_R, 0.0).sum()
    num_positive = positive_R.sum().clamp(min=1)
    num_scores = student_RK.shape[1] if reduction == "mean" else 1
    return temperature**2 * total / (num_positive * num_scores)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SoftLabels:
    """The term on positive sites. A prediction site has the mean weight of its instance over the levels."""

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenseSoftLabels:
    """The term on all sites of a one-stage head; see ``Step.all_site_weights``."""

    score_kind: str
    temperature: float
    focus: float
    reduction: Reduction
    robust: bool = True
    needs_prototypes: bool = False

    def __call__(self, step: Step) -> Tensor:
        """Return the loss of a step."""
        sites = step.student.prediction_sites
        return dense_soft_label_loss(
            sites.logits_RC.float(),
            step.teacher.logits_at(sites).float(),
            step.all_site_weights(robust=self.robust),
            sites.positive_R,
            score_kind=self.score_kind,
            temperature=self.temperature,
            focus=self.focus,
            reduction=self.reduction,
        )


def build_soft_labels(settings: DistillationSettings, context: TermContext) -> SoftLabels | DenseSoftLabels:
    """Build the term, with ``sites: auto`` on all sites of a sigmoid head and on the positive sites of another."""
    soft = settings.soft_labels
    is_dense = context.score_kind == "sigmoid" if soft.sites == "auto" else soft.sites == "all"
    if is_dense:
        return DenseSoftLabels(
            score_kind=context.score_kind,
            temperature=soft.temperature,
            focus=soft.focus,
            reduction=soft.reduction,
            robust=soft.robust,
        )
    return SoftLabels(
        score_kind=context.score_kind, temperature=soft.temperature, reduction=soft.reduction, robust=soft.robust
    )
