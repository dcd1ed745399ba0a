"""The global knowledge term: student and teacher agree in their representations on prototypes.

Instances are represented, as in the paper, or the cells of the maps. Shape legend: ``L`` levels, ``N``
instances, ``Q`` cells of a batch, ``P`` prototypes of all classes or of one, ``D`` student channels, ``E`` teacher
channels, ``X`` either ``L, N`` or ``Q``.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional

from distune.collectives import batch_count
from distune.config.distillation import DistillationSettings
from distune.distillation.adapters import build_linear_adapters
from distune.distillation.maps.box_masks import weight_mask
from distune.distillation.maps.pooling import l2_normalize
from distune.distillation.representation import Representation, Representations, gather_class, represent
from distune.distillation.term import Step, TermContext

_MASKED_LOGIT = -1e4


def smooth_l1(student_XP: Tensor, teacher_XP: Tensor, weights_X: Tensor, valid_XP: Tensor) -> Tensor:
    """Return ``1/P sum_p h(w r^s_p - w r^t_p)`` over the P valid prototypes: the loss of arXiv 2210.09022; shape X.

    ``h(x) = x^2/2`` where ``|x| < 1``, and ``|x| - 1/2`` elsewhere.
    """
    weights_X1 = weights_X[..., None]
    loss_XP = functional.smooth_l1_loss(weights_X1 * student_XP, weights_X1 * teacher_XP, reduction="none")
    return (loss_XP * valid_XP).sum(dim=-1) / valid_XP.sum(dim=-1).clamp(min=1)


def divergence(
    student_XP: Tensor, teacher_XP: Tensor, weights_X: Tensor, valid_XP: Tensor, *, temperature: float
) -> Tensor:
    """Return ``w KL(q^t || q^s)`` with ``q = softmax_p(r_p / temperature)`` over the valid prototypes; shape X.

    It compares the prototypes that something is most like, not each similarity: the similarity distillation of
    Koohpayegani et al., "CompRess", NeurIPS 2020, arXiv 2010.14713, with prototypes as anchor points. 0 where no
    prototype is valid.
    """
    log_student_XP = (student_XP / temperature).masked_fill(~valid_XP, _MASKED_LOGIT).log_softmax(dim=-1)
    log_teacher_XP = (teacher_XP / temperature).masked_fill(~valid_XP, _MASKED_LOGIT).log_softmax(dim=-1)
    divergence_X = (log_teacher_XP.exp() * (log_teacher_XP - log_student_XP)).sum(dim=-1)
    return weights_X * divergence_X.clamp(min=0)  # rounding may bring equal distributions below 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Form:
    """The loss between two representations.

    Attributes:
        name: ``smooth_l1`` or ``divergence``.
        temperature: of the divergence, more than 0.
    """

    name: str
    temperature: float

    def __call__(self, student_XP: Tensor, teacher_XP: Tensor, weights_X: Tensor, valid_XP: Tensor) -> Tensor:
        """Return the loss of each, shape X. No gradient flows into the teacher's representations or the weights."""
        arguments = (student_XP, teacher_XP.detach(), weights_X.detach(), valid_XP)
        if self.name == "divergence":
            return divergence(*arguments, temperature=self.temperature)
        return smooth_l1(*arguments)


class GlobalKnowledge(nn.Module):
    """The term over instances: the mean over instances, then over levels; or over each instance on its level.

    Args:
        form: the loss between representations.
        representation: ``cosine`` or ``coefficient``.
        same_class_only: represent an instance on the prototypes of its class alone.
        base_size_px: the side of a box at which it belongs to stride 4; None compares every instance on every level on
            which it counts.
        adapters: one per level, into the teacher's space, where the student is represented on the teacher's
            prototypes. None represents it on its own prototypes.
    """

    needs_prototypes = True

    def __init__(
        self,
        *,
        form: Form,
        representation: Representation,
        same_class_only: bool,
        base_size_px: float | None,
        adapters: nn.ModuleList | None,
    ) -> None:
        super().__init__()
        self.form = form
        self.representation: Representation = representation
        self.same_class_only = same_class_only
        self.base_size_px = base_size_px
        self.adapters = adapters

    def forward(self, step: Step) -> Tensor:
        """Return the loss of a step. A level without boxes that count there, or without prototypes, counts as 0."""
        assert step.representations is not None
        representations = step.representations
        student_LNCM, teacher_LNCM = representations.of(self.representation)
        if self.adapters is not None:
            student_LNCM = represent(self._adapted(step), representations.bases(self.representation)[1])
        tensors = (student_LNCM, teacher_LNCM, representations.valid_LNCM)
        if self.same_class_only:
            student_LNP, teacher_LNP, valid_LNP = (gather_class(values, representations.class_N) for values in tensors)
        else:
            student_LNP, teacher_LNP, valid_LNP = (values.flatten(2) for values in tensors)
        loss_LN = self.form(student_LNP, teacher_LNP, step.weights.global_LN, valid_LNP)
        counted_LN = valid_LNP.any(dim=2)
        if self.base_size_px is None:
            counted_LN = counted_LN & step.counted_LN
            return ((loss_LN * counted_LN).sum(dim=1) / batch_count(counted_LN.sum(dim=1), at_least=1)).mean()
        level_N = step.level_of_boxes(self.base_size_px)
        counted_LN = counted_LN & (level_N == torch.arange(len(step.strides), device=level_N.device)[:, None])
        return (loss_LN * counted_LN).sum() / batch_count(counted_LN.sum(), at_least=1)

    def _adapted(self, step: Step) -> Tensor:
        assert self.adapters is not None
        assert step.representations is not None
        student_LND = step.representations.features.student_LND
        return l2_normalize(torch.stack([adapt(each) for adapt, each in zip(self.adapters, student_LND, strict=True)]))


class CellGlobalKnowledge(nn.Module):
    """The term over the cells of the maps: ``sum_q m_q loss_q / sum_q m_q`` over all levels together.

    A cell inside a box has the weight of the box, on the levels on which the box counts, or on the one that it belongs
    to; other cells have ``background_weight``, and those in padding none.

    Args:
        form: the loss between representations.
        representation: ``cosine`` or ``coefficient``.
        base_size_px: the side of a box at which it belongs to stride 4; None uses every box on every level on which it
            counts.
        adapters: as in ``GlobalKnowledge``.
        background_weight: weight of cells outside boxes.
    """

    needs_prototypes = True

    def __init__(
        self,
        *,
        form: Form,
        representation: Representation,
        base_size_px: float | None,
        adapters: nn.ModuleList | None,
        background_weight: float,
    ) -> None:
        super().__init__()
        self.form = form
        self.representation: Representation = representation
        self.base_size_px = base_size_px
        self.adapters = adapters
        self.background_weight = background_weight

    def forward(self, step: Step) -> Tensor:
        """Return the loss of a step."""
        assert step.representations is not None
        losses: list[Tensor] = []
        weights: list[Tensor] = []
        for level in range(len(step.strides)):
            mask_Q = self._mask(step, level).flatten()
            student_QP, teacher_QP, valid_P = self._represent(step, step.representations, level)
            ones_Q = torch.ones_like(mask_Q)
            loss_Q = self.form(student_QP, teacher_QP, ones_Q, valid_P.expand_as(student_QP))
            losses.append((mask_Q * loss_Q).sum())
            weights.append(mask_Q.sum() * valid_P.any())
        total = batch_count(torch.stack(weights).sum())
        return torch.stack(losses).sum() / torch.where(total > 0, total, 1.0)

    def _mask(self, step: Step, level: int) -> Tensor:
        stride = step.strides[level]
        height, width = step.student.neck[stride].shape[-2:]
        if self.base_size_px is None:
            is_here_N = step.counted_LN[level]
        else:
            is_here_N = step.level_of_boxes(self.base_size_px) == level
        values_N = torch.where(is_here_N, step.weights.global_LN[level], -1.0)
        mask_BHW = weight_mask(values_N, step.instances, stride=stride, size=(height, width))
        return step.zero_padding(level, torch.where(mask_BHW < 0, self.background_weight, mask_BHW))

    def _represent(self, step: Step, representations: Representations, level: int) -> tuple[Tensor, Tensor, Tensor]:
        student_QD, teacher_QE = (each.permute(0, 2, 3, 1).flatten(0, 2) for each in step.centered_maps(level))
        student_LCMD, teacher_LCME = representations.bases(self.representation)
        teacher_PE = teacher_LCME[level].flatten(0, 1)[:, : teacher_QE.shape[1]]
        if self.adapters is None:
            student_QP = l2_normalize(student_QD) @ student_LCMD[level].flatten(0, 1)[:, : student_QD.shape[1]].T
        else:
            student_QP = l2_normalize(self.adapters[level](student_QD)) @ teacher_PE.T
        return student_QP, l2_normalize(teacher_QE) @ teacher_PE.T, representations.valid_LCM[level].flatten()


def build_global_knowledge(
    settings: DistillationSettings, context: TermContext
) -> GlobalKnowledge | CellGlobalKnowledge:
    """Build the term."""
    term = settings.global_knowledge
    form = Form(name=term.form, temperature=term.temperature)
    base_size_px = context.base_size(term.base_size_px) if term.levels == "own" else None
    if term.at == "cells":
        return CellGlobalKnowledge(
            form=form,
            representation=term.representation,
            base_size_px=base_size_px,
            adapters=_adapters(context, context.student_channels, context.teacher_channels, term.space),
            background_weight=term.background_weight,
        )
    levels = len(context.strides)
    # Pooled features are as wide as the widest level.
    widest = (max(context.student_channels),) * levels, (max(context.teacher_channels),) * levels
    return GlobalKnowledge(
        form=form,
        representation=term.representation,
        same_class_only=term.classes == "own",
        base_size_px=base_size_px,
        adapters=_adapters(context, *widest, term.space),
    )


def _adapters(
    context: TermContext, student_channels: tuple[int, ...], teacher_channels: tuple[int, ...], space: str
) -> nn.ModuleList | None:
    if space == "own":
        return None
    return build_linear_adapters(student_channels, teacher_channels, generator=context.generator)
