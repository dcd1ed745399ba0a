"""The global knowledge term: student and teacher should see an instance alike relative to the prototypes.

Shape legend: ``L`` levels, ``N`` instances, ``C`` classes without background, ``M`` prototypes of a class, ``P``
prototypes that an instance is described by, ``D`` student channels, ``E`` teacher channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from distune.config.distillation import DistillationSettings
from distune.distillation.masks import level_of_boxes
from distune.distillation.pooling import unit
from distune.distillation.representation import Representation, own_class
from distune.distillation.term import Step, TermContext


def smooth_l1_form(student_LNP: Tensor, teacher_LNP: Tensor, weights_LN: Tensor, valid_LNP: Tensor) -> Tensor:
    """``1/P sum_p smooth_l1(w r^s_p, w r^t_p)`` over the P valid prototypes, (L, N).

    ``smooth_l1(x, y) = (x-y)^2/2`` where ``|x-y| < 1`` and ``|x-y| - 1/2`` elsewhere.
    """
    weights_LN1 = weights_LN[..., None]
    loss_LNP = functional.smooth_l1_loss(weights_LN1 * student_LNP, weights_LN1 * teacher_LNP, reduction="none")
    return (loss_LNP * valid_LNP).sum(dim=2) / valid_LNP.sum(dim=2).clamp(min=1)


def divergence_form(
    student_LNP: Tensor, teacher_LNP: Tensor, weights_LN: Tensor, valid_LNP: Tensor, temperature: float
) -> Tensor:
    """``w KL(q^t || q^s)`` with ``q = softmax_p(r_p / temperature)`` over the valid prototypes, (L, N)."""
    hidden = ~valid_LNP
    log_student_LNP = (student_LNP / temperature).masked_fill(hidden, -1e4).log_softmax(dim=2)
    log_teacher_LNP = (teacher_LNP / temperature).masked_fill(hidden, -1e4).log_softmax(dim=2)
    return weights_LN * (log_teacher_LNP.exp() * (log_teacher_LNP - log_student_LNP)).sum(dim=2)


def mean_over_instances(loss_LN: Tensor, counted_LN: Tensor) -> Tensor:
    """The mean over the instances that count, then over levels. A level without any counts as 0."""
    count_L = counted_LN.sum(dim=1).clamp(min=1)
    return ((loss_LN * counted_LN).sum(dim=1) / count_L).mean()


class GlobalKnowledge(nn.Module):
    """The term. See ``GlobalKnowledgeSettings`` for what the arguments mean."""

    needs_prototypes = True

    def __init__(
        self,
        *,
        form: str,
        representation: Representation,
        own_class_only: bool,
        own_level_only: bool,
        base_size_px: float,
        temperature: float,
        adapters: nn.ModuleList | None,
    ) -> None:
        super().__init__()
        self.form = form
        self.representation = representation
        self.own_class_only = own_class_only
        self.own_level_only = own_level_only
        self.base_size_px = base_size_px
        self.temperature = temperature
        self.adapters = adapters

    def forward(self, step: Step) -> Tensor:
        """The loss of a step."""
        assert step.representations is not None
        known = step.representations
        student_LNCM, teacher_LNCM = known.of(self.representation)
        if self.adapters is not None:
            features_LND = step.features().student_LND
            adapted_LNE = torch.stack([adapt(each) for adapt, each in zip(self.adapters, features_LND, strict=True)])
            student_LNCM = known.in_teachers_space(unit(adapted_LNE), self.representation)
        tensors = (student_LNCM, teacher_LNCM, known.valid_LNCM)
        if self.own_class_only:
            student_LNP, teacher_LNP, valid_LNP = (own_class(values, known.class_N) for values in tensors)
        else:
            student_LNP, teacher_LNP, valid_LNP = (values.flatten(2) for values in tensors)
        weights_LN = step.weights.global_LN.detach()
        if self.form == "smooth_l1":
            loss_LN = smooth_l1_form(student_LNP, teacher_LNP, weights_LN, valid_LNP)
        else:
            loss_LN = divergence_form(student_LNP, teacher_LNP, weights_LN, valid_LNP, self.temperature)
        counted_LN = valid_LNP.any(dim=2)
        if self.own_level_only:
            boxes_N4 = step.instances.boxes_N4
            level_N = level_of_boxes(boxes_N4, step.strides, base_size_px=self.base_size_px)
            counted_LN = counted_LN & (level_N == torch.arange(len(step.strides), device=level_N.device)[:, None])
            return (loss_LN * counted_LN).sum() / counted_LN.sum().clamp(min=1)
        return mean_over_instances(loss_LN, counted_LN)


def build_global_knowledge(settings: DistillationSettings, context: TermContext) -> GlobalKnowledge:
    """The term that the settings describe."""
    own = settings.global_knowledge
    adapters = None
    if own.space == "teacher":
        adapters = nn.ModuleList()
        for _ in context.strides:
            layer = nn.utils.skip_init(nn.Linear, max(context.student_channels), max(context.teacher_channels))
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear", generator=context.generator)
            nn.init.zeros_(layer.bias)
            adapters.append(layer)
    return GlobalKnowledge(
        form=own.form,
        representation=own.representation,
        own_class_only=own.classes == "own",
        own_level_only=own.levels == "own",
        base_size_px=own.base_size_px,
        temperature=own.temperature,
        adapters=adapters,
    )
