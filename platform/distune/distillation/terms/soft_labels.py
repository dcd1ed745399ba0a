"""The soft labels term: the teacher's class scores as targets on the student's prediction sites.

Shape legend: ``R`` prediction sites of the batch, ``P`` a part of them, ``K`` class logits with background first, ``C``
classes without it, ``N`` instances.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from distune.collectives import batch_count
from distune.config.distillation import DistillationSettings
from distune.distillation.class_scores import total_variation
from distune.distillation.term import Step, TermContext

Reduction = Literal["batchmean", "mean"]

_LARGEST_EXPONENT = 80.0
"""Of float32, with a margin."""
_SCORES_AT_A_TIME = 2**20
"""Small enough for the cache of a processor, large enough for a GPU."""


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


class FocusedDivergence(torch.autograd.Function):
    """``sum_rc w_r |p^t_rc - p^s_rc|^g KL(Bernoulli(q^t_rc) || Bernoulli(q^s_rc))`` of sigmoid scores; a scalar.

    ``p = sigmoid(z)``, ``q = sigmoid(z/T)``. The gradient is ``w_r |p^t_rc - p^s_rc|^g (q^s_rc - q^t_rc) / T``: the
    disagreement is a constant to it. Written out for the many sites that nearly agree, and for memory. There the
    difference of two softplus is smaller than its rounding, and a divergence that is cut off at 0 loses its gradient.
    Sites are computed in parts, and for the backward pass the gradient alone is kept, one tensor of the size of the
    scores: a head of 200,000 sites and 80 classes would need twelve at once.
    """

    @staticmethod
    def forward(
        ctx: Any, student_RC: Tensor, teacher_RC: Tensor, weights_R: Tensor, temperature: float, focus: float
    ) -> Tensor:
        """Return the sum; where the weight is 0, the scores may have any value."""
        num_rows = max(1, _SCORES_AT_A_TIME // student_RC.shape[1])
        gradient_RC = torch.empty_like(student_RC)
        total = student_RC.new_zeros(())
        parts = (torch.split(each, num_rows) for each in (student_RC, teacher_RC, weights_R, gradient_RC))
        for student_PC, teacher_PC, weights_P, gradient_PC in zip(*parts, strict=True):
            gap_PC = (teacher_PC.sigmoid() - student_PC.sigmoid()).abs()
            weights_PC = weights_P[:, None] * gap_PC**focus
            takes_part_PC = weights_PC > 0
            soft_student_PC, soft_teacher_PC = student_PC / temperature, teacher_PC / temperature
            pull_PC = weights_PC * (soft_student_PC.sigmoid() - soft_teacher_PC.sigmoid())
            gradient_PC.copy_(torch.where(takes_part_PC, pull_PC, 0.0))
            divergence_PC = near_bernoulli_divergence(soft_student_PC, soft_teacher_PC)
            total = total + torch.where(takes_part_PC, weights_PC * divergence_PC, 0.0).sum()
        ctx.save_for_backward(gradient_RC)
        ctx.temperature = temperature
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        """Return the gradient of the student's scores."""
        (gradient_RC,) = ctx.saved_tensors
        return gradients[0] / ctx.temperature * gradient_RC, None, None, None, None


def near_bernoulli_divergence(student_RC: Tensor, teacher_RC: Tensor) -> Tensor:
    """Return ``bernoulli_divergence``, exact also where both scores nearly agree; not for a gradient.

    With ``d = z^s - z^t`` it is ``log(1 + p^t (e^d - 1)) - p^t d``, in which no large numbers cancel as long as ``p^t``
    is at most a half. Otherwise it is the same of ``1 - p^t`` and ``-d``.
    """
    difference_RC = torch.where(teacher_RC < 0, student_RC - teacher_RC, teacher_RC - student_RC)
    smaller_RC = (-teacher_RC.abs()).sigmoid()
    near_RC = (smaller_RC * difference_RC.expm1()).log1p() - smaller_RC * difference_RC
    is_near_RC = difference_RC < _LARGEST_EXPONENT
    return torch.where(is_near_RC, near_RC, bernoulli_divergence(student_RC, teacher_RC)).clamp(min=0)


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
    num_positive = batch_count(positive_R.sum(), at_least=1)
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
    ``q = sigmoid(z/T)``, g the ``focus`` and n as in ``soft_label_loss``; a focal loss is divided by it as well.
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
    weights_R = weights_R.detach()
    total: Tensor
    if score_kind == "sigmoid":
        student_RK, teacher_RK = student_RK[:, 1:], teacher_RK[:, 1:].detach()
        total = FocusedDivergence.apply(student_RK, teacher_RK, weights_R, temperature, focus)
    else:
        weights_R = weights_R * total_variation(student_RK, teacher_RK) ** focus
        divergence_R = softmax_divergence(student_RK / temperature, teacher_RK.detach() / temperature)
        total = torch.where(weights_R > 0, weights_R * divergence_R, 0.0).sum()
    num_positive = batch_count(positive_R.sum(), at_least=1)
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
