"""The global knowledge term: student and teacher should see the same thing alike relative to the prototypes.

What is represented are the instances, as in the paper, or the cells of the maps. Shape legend: ``L`` levels, ``N``
instances, ``Q`` cells of a batch, ``P`` prototypes of all classes or of one, ``D`` student channels, ``E`` teacher
channels, ``X`` either ``L, N`` or ``Q``.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional

from distune.config.distillation import DistillationSettings
from distune.distillation.adapters import build_linear_adapters
from distune.distillation.maps.box_masks import level_of_boxes, weight_mask
from distune.distillation.maps.pooling import l2_normalize
from distune.distillation.representation import Representation, Representations, own_class, represent
from distune.distillation.term import Step, TermContext

_HIDDEN = -1e4


def smooth_l1_form(student_XP: Tensor, teacher_XP: Tensor, weights_X: Tensor, valid_XP: Tensor) -> Tensor:
    """``1/P sum_p h(w r^s_p - w r^t_p)`` over the P valid prototypes: the paper's, arXiv 2210.09022; shape X.

    ``h(x) = x^2/2`` where ``|x| < 1``, and ``|x| - 1/2`` elsewhere.
    """
    weights_X1 = weights_X[..., None]
    loss_XP = functional.smooth_l1_loss(weights_X1 * student_XP, weights_X1 * teacher_XP, reduction="none")
    return (loss_XP * valid_XP).sum(dim=-1) / valid_XP.sum(dim=-1).clamp(min=1)


def divergence_form(
    student_XP: Tensor, teacher_XP: Tensor, weights_X: Tensor, valid_XP: Tensor, *, temperature: float
) -> Tensor:
    """``w KL(q^t || q^s)`` with ``q = softmax_p(r_p / temperature)`` over the valid prototypes; shape X.

    Which prototypes something is most like, instead of how like each: the similarity distillation of Koohpayegani et
    al., "CompRess", NeurIPS 2020, arXiv 2010.14713, with prototypes as anchor points. 0 where no prototype is valid.
    """
    log_student_XP = (student_XP / temperature).masked_fill(~valid_XP, _HIDDEN).log_softmax(dim=-1)
    log_teacher_XP = (teacher_XP / temperature).masked_fill(~valid_XP, _HIDDEN).log_softmax(dim=-1)
    divergence_X = (log_teacher_XP.exp() * (log_teacher_XP - log_student_XP)).sum(dim=-1)
    return weights_X * divergence_X.clamp(min=0)  # rounding may bring equal distributions below 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Form:
    """How two representations are compared."""

    name: str
    temperature: float

    def __call__(self, student_XP: Tensor, teacher_XP: Tensor, weights_X: Tensor, valid_XP: Tensor) -> Tensor:
        """The loss of each, shape X. No gradient flows into the teacher's representations or the weights."""
        given = (student_XP, teacher_XP.detach(), weights_X.detach(), valid_XP)
        if self.name == "divergence":
            return divergence_form(*given, temperature=self.temperature)
        return smooth_l1_form(*given)


class GlobalKnowledge(nn.Module):
    """The term over instances: the mean over them and then over levels, or over each on the level of its size.

    Args:
        form: of the comparison.
        representation: ``cosine`` or ``coefficient``.
        own_class_only: represent an instance on the prototypes of its class alone.
        base_size_px: the side of a box at which it belongs to stride 4; None compares every instance on every level.
        adapters: one per level, into the teacher's space, where the student is then represented on the teacher's
            prototypes. None represents it on its own.
    """

    needs_prototypes = True

    def __init__(
        self,
        *,
        form: Form,
        representation: Representation,
        own_class_only: bool,
        base_size_px: float | None,
        adapters: nn.ModuleList | None,
    ) -> None:
        super().__init__()
        self.form = form
        self.representation: Representation = representation
        self.own_class_only = own_class_only
        self.base_size_px = base_size_px
        self.adapters = adapters

    def forward(self, step: Step) -> Tensor:
        """The loss of a step. A level without boxes or prototypes counts as 0."""
        assert step.representations is not None
        known = step.representations
        student_LNCM, teacher_LNCM = known.of(self.representation)
        if self.adapters is not None:
            student_LNCM = represent(self._adapted(step), known.bases(self.representation)[1])
        tensors = (student_LNCM, teacher_LNCM, known.valid_LNCM)
        if self.own_class_only:
            student_LNP, teacher_LNP, valid_LNP = (own_class(values, known.class_N) for values in tensors)
        else:
            student_LNP, teacher_LNP, valid_LNP = (values.flatten(2) for values in tensors)
        loss_LN = self.form(student_LNP, teacher_LNP, step.weights.global_LN, valid_LNP)
        counted_LN = valid_LNP.any(dim=2)
        if self.base_size_px is None:
            return ((loss_LN * counted_LN).sum(dim=1) / counted_LN.sum(dim=1).clamp(min=1)).mean()
        level_N = level_of_boxes(step.instances.boxes_N4, step.strides, base_size_px=self.base_size_px)
        counted_LN = counted_LN & (level_N == torch.arange(len(step.strides), device=level_N.device)[:, None])
        return (loss_LN * counted_LN).sum() / counted_LN.sum().clamp(min=1)

    def _adapted(self, step: Step) -> Tensor:
        assert self.adapters is not None
        student_LND = step.features().student_LND
        return l2_normalize(torch.stack([adapt(each) for adapt, each in zip(self.adapters, student_LND, strict=True)]))


class GlobalKnowledgeOfCells(nn.Module):
    """The term over the cells of the maps: ``sum_q m_q loss_q / sum_q m_q`` over all levels together.

    A cell inside of a box weighs as much as the box, on the level of the box's size; any other ``background_weight``.

    Args:
        form: of the comparison.
        representation: ``cosine`` or ``coefficient``.
        base_size_px: the side of a box at which it belongs to stride 4; None paints every box on every level.
        adapters: as in ``GlobalKnowledge``.
        background_weight: of cells outside of boxes.
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
        """The loss of a step."""
        assert step.representations is not None
        level_N: Tensor | None = None
        if self.base_size_px is not None:
            level_N = level_of_boxes(step.instances.boxes_N4, step.strides, base_size_px=self.base_size_px)
        losses: list[Tensor] = []
        weights: list[Tensor] = []
        for level in range(len(step.strides)):
            mask_Q = self._mask(step, level, level_N).flatten()
            student_QP, teacher_QP, valid_P = self._represent(step, step.representations, level)
            ones_Q = torch.ones_like(mask_Q)
            loss_Q = self.form(student_QP, teacher_QP, ones_Q, valid_P.expand_as(student_QP))
            losses.append((mask_Q * loss_Q).sum())
            weights.append(mask_Q.sum() * valid_P.any())
        total = torch.stack(weights).sum()
        return torch.stack(losses).sum() / torch.where(total > 0, total, 1.0)

    def _mask(self, step: Step, level: int, level_N: Tensor | None) -> Tensor:
        stride = step.strides[level]
        height, width = step.student.neck[stride].shape[-2:]
        values_N = step.weights.global_LN[level]
        if level_N is not None:
            values_N = torch.where(level_N == level, values_N, -1.0)
        mask_BHW = weight_mask(values_N, step.instances, stride=stride, size=(height, width))
        return torch.where(mask_BHW < 0, self.background_weight, mask_BHW)

    def _represent(self, step: Step, known: Representations, level: int) -> tuple[Tensor, Tensor, Tensor]:
        student_QD, teacher_QE = (each.permute(0, 2, 3, 1).flatten(0, 2) for each in step.maps(level))
        student_LCMD, teacher_LCME = known.bases(self.representation)
        teacher_PE = teacher_LCME[level].flatten(0, 1)[:, : teacher_QE.shape[1]]
        if self.adapters is None:
            student_QP = l2_normalize(student_QD) @ student_LCMD[level].flatten(0, 1)[:, : student_QD.shape[1]].T
        else:
            student_QP = l2_normalize(self.adapters[level](student_QD)) @ teacher_PE.T
        return student_QP, l2_normalize(teacher_QE) @ teacher_PE.T, known.valid_LCM[level].flatten()


def build_global_knowledge(
    settings: DistillationSettings, context: TermContext
) -> GlobalKnowledge | GlobalKnowledgeOfCells:
    """The term that the settings describe."""
    own = settings.global_knowledge
    form = Form(name=own.form, temperature=own.temperature)
    base_size_px = context.base_size(own.base_size_px) if own.levels == "own" else None
    if own.at == "cells":
        return GlobalKnowledgeOfCells(
            form=form,
            representation=own.representation,
            base_size_px=base_size_px,
            adapters=_adapters(context, context.student_channels, context.teacher_channels, own.space),
            background_weight=own.background_weight,
        )
    levels = len(context.strides)
    # Pooled features are as wide as the widest level.
    widest = (max(context.student_channels),) * levels, (max(context.teacher_channels),) * levels
    return GlobalKnowledge(
        form=form,
        representation=own.representation,
        own_class_only=own.classes == "own",
        base_size_px=base_size_px,
        adapters=_adapters(context, *widest, own.space),
    )


def _adapters(
    context: TermContext, student_channels: tuple[int, ...], teacher_channels: tuple[int, ...], space: str
) -> nn.ModuleList | None:
    if space == "own":
        return None
    return build_linear_adapters(student_channels, teacher_channels, generator=context.generator)
