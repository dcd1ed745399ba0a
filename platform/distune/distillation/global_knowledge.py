"""The global knowledge term: student and teacher should see an instance alike relative to the prototypes.

Shape legend: ``L`` levels, ``N`` instances, ``C`` classes without background, ``M`` prototypes of a class, ``P``
prototypes that an instance is described by.
"""

from __future__ import annotations

import dataclasses

from torch import Tensor
from torch.nn import functional

from distune.config.distillation import DistillationSettings
from distune.distillation.representation import Representation, own_class
from distune.distillation.term import Step, TermContext


def global_knowledge_loss(student_LNP: Tensor, teacher_LNP: Tensor, weights_LN: Tensor, valid_LNP: Tensor) -> Tensor:
    """Smooth L1 between weighted representations, the mean over boxes and prototypes, then over levels.

    ``mean_l mean_{b,p} smooth_l1(w_lb r^s_lbp, w_lb r^t_lbp)`` with ``smooth_l1(x, y) = (x-y)^2/2`` where
    ``|x-y| < 1`` and ``|x-y| - 1/2`` elsewhere. Tang et al., ECCV 2022, arXiv 2210.09022. A level without
    boxes or prototypes counts as 0.

    Args:
        student_LNP: representations of N instances on P prototypes, with gradient.
        teacher_LNP: the teacher's; no gradient flows into them.
        weights_LN: between 0 and 1; no gradient flows into them.
        valid_LNP: bool; the other entries are left out of the mean.

    Returns:
        A scalar.
    """
    weights_LN1 = weights_LN.detach()[..., None]
    loss_LNP = functional.smooth_l1_loss(
        weights_LN1 * student_LNP, weights_LN1 * teacher_LNP.detach(), reduction="none"
    )
    count_L = valid_LNP.sum(dim=(1, 2)).clamp(min=1)
    return ((loss_LNP * valid_LNP).sum(dim=(1, 2)) / count_L).mean()


@dataclasses.dataclass(frozen=True, kw_only=True)
class GlobalKnowledge:
    """The term over all classes' prototypes, or over those of the instance's own class."""

    representation: Representation
    own_class_only: bool
    needs_prototypes: bool = True

    def __call__(self, step: Step) -> Tensor:
        """The loss of a step."""
        assert step.representations is not None
        student_LNCM, teacher_LNCM = step.representations.of(self.representation)
        valid_LNCM = step.representations.valid_LNCM
        tensors = (student_LNCM, teacher_LNCM, valid_LNCM)
        if self.own_class_only:
            class_N = step.representations.class_N
            student_LNP, teacher_LNP, valid_LNP = (own_class(values, class_N) for values in tensors)
        else:
            student_LNP, teacher_LNP, valid_LNP = (values.flatten(2) for values in tensors)
        return global_knowledge_loss(student_LNP, teacher_LNP, step.weights.global_LN, valid_LNP)


def build_global_knowledge(settings: DistillationSettings, context: TermContext) -> GlobalKnowledge:
    """The term that the settings describe."""
    own = settings.global_knowledge
    return GlobalKnowledge(representation=own.representation, own_class_only=own.classes == "own")
