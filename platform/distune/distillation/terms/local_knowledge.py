"""The local knowledge term: imitation of the teacher's maps, decoupled into foreground and background.

Shape legend: ``B`` batch, ``E`` teacher channels, ``H`` ``W`` a map, ``N`` instances, ``L`` levels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distune.config.distillation import DistillationSettings
from distune.distillation.maps.box_masks import level_of_boxes, weight_mask
from distune.distillation.term import Step, TermContext


def decoupled_imitation(adapted_BEHW: Tensor, teacher_BEHW: Tensor, mask_BHW: Tensor) -> tuple[Tensor, Tensor]:
    """Foreground and background loss of one level.

    ``fg = sum M (A(s) - t)^2 / max(1, 2 sum M)``, where the mask M holds the weight of the box that covers a cell and
    is broadcast over channels in both sums; ``bg`` is the same with M = 1 on the cells that no box covers. The inside
    of a box of weight 0 is neither. Tang et al., ECCV 2022, arXiv 2210.09022; decoupling after Guo et al.,
    "Distilling Object Detectors via Decoupled Features", CVPR 2021, arXiv 2103.14475.

    Args:
        adapted_BEHW: the student's map after its adapter, with gradient.
        teacher_BEHW: the teacher's; no gradient flows into it.
        mask_BHW: the weight of the box that covers a cell, -1 where none does.

    Returns:
        Two scalars: foreground, background.
    """
    channels = teacher_BEHW.shape[1]
    error_BHW = (adapted_BEHW - teacher_BEHW.detach()).square().sum(dim=1)
    foreground_BHW = mask_BHW.clamp(min=0)
    background_BHW = (mask_BHW < 0).to(error_BHW.dtype)
    foreground, background = (
        (error_BHW * m).sum() / (2 * channels * m.sum()).clamp(min=1) for m in (foreground_BHW, background_BHW)
    )
    return foreground, background


class LocalKnowledge(nn.Module):
    """The term: the mean over levels of ``fg + background_ratio bg``, each box on the one level it belongs to.

    Args:
        adapters: one per level.
        background_ratio: weight of the background over the foreground's.
        base_size_px: the side of a box at which it belongs to stride 4.
        robust: whether boxes count by the filter's weights.
    """

    needs_prototypes = False

    def __init__(
        self, adapters: nn.ModuleList, *, background_ratio: float, base_size_px: float, robust: bool = True
    ) -> None:
        super().__init__()
        self.adapters = adapters
        self.background_ratio = background_ratio
        self.base_size_px = base_size_px
        self.robust = robust

    def forward(self, step: Step) -> Tensor:
        """The loss of a step."""
        instances = step.instances
        level_N = level_of_boxes(instances.boxes_N4, step.strides, base_size_px=self.base_size_px)
        weights_LN = step.local_weights(robust=self.robust)
        losses: list[Tensor] = []
        for level, (stride, adapter) in enumerate(zip(step.strides, self.adapters, strict=True)):
            student_BDHW, teacher_BEHW = step.imitated(level)
            height, width = teacher_BEHW.shape[-2:]
            values_N = torch.where(level_N == level, weights_LN[level], -1.0)
            mask_BHW = weight_mask(values_N, instances, stride=stride, size=(height, width))
            foreground, background = decoupled_imitation(adapter(student_BDHW), teacher_BEHW, mask_BHW)
            losses.append(foreground + self.background_ratio * background)
        return torch.stack(losses).mean()


def build_local_knowledge(settings: DistillationSettings, context: TermContext) -> LocalKnowledge:
    """The term that the settings describe. Raises ``ConfigError`` when its adapter does not fit."""
    own = settings.local_knowledge
    return LocalKnowledge(
        context.adapters(own.adapter, term="local_knowledge"),
        background_ratio=own.background_ratio,
        base_size_px=context.base_size(own.base_size_px),
        robust=own.robust,
    )
