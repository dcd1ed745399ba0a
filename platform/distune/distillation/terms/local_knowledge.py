"""The local knowledge term: imitation of the teacher's maps, decoupled into foreground and background.

Shape legend: ``B`` batch, ``D`` student channels, ``E`` teacher channels, ``H`` ``W`` a map, ``L`` levels, ``N``
instances.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from distune.collectives import batch_count
from distune.config.distillation import DistillationSettings
from distune.distillation.maps.box_masks import weight_mask
from distune.distillation.term import Step, TermContext


class LocalKnowledgeTerm(nn.Module):
    """Decoupled imitation of the maps of all levels.

    Args:
        adapters: one per level; they train with the student.
        average: over ``levels``, whose means count alike, or over the ``cells`` of all levels.
        background_ratio: weight of the background.
        base_size_px: side of the smallest boxes that belong to stride 4.
        robust: whether boxes count by the filter's weights.
    """

    needs_prototypes = False

    def __init__(
        self,
        adapters: nn.ModuleList,
        *,
        average: Literal["levels", "cells"],
        background_ratio: float,
        base_size_px: float,
        robust: bool,
    ) -> None:
        super().__init__()
        self.adapters = adapters
        self._average, self._background_ratio = average, background_ratio
        self._base_size_px, self._robust = base_size_px, robust

    def forward(self, step: Step) -> Tensor:
        """Return the loss of a step: foreground, and ``background_ratio`` times background."""
        levels = [self._level_sums(step, level, adapter) for level, adapter in enumerate(self.adapters)]
        errors_L2, counts_L2 = (torch.stack(each) for each in zip(*levels, strict=True))
        if self._average == "cells":
            errors_L2, counts_L2 = errors_L2.sum(dim=0, keepdim=True), counts_L2.sum(dim=0, keepdim=True)
        foreground_L, background_L = (errors_L2 / batch_count(counts_L2, at_least=1)).unbind(dim=1)
        return (foreground_L + self._background_ratio * background_L).mean()

    def _level_sums(self, step: Step, level: int, adapter: nn.Module) -> tuple[Tensor, Tensor]:
        """Return ``imitation_sums`` of a level, with the boxes that belong to it."""
        student_BDHW, teacher_BEHW = step.imitation_maps(level)
        height, width = teacher_BEHW.shape[-2:]
        is_here_N = step.level_of_boxes(self._base_size_px) == level
        values_N = torch.where(is_here_N, step.local_weights(robust=self._robust)[level], -1.0)
        mask_BHW = weight_mask(values_N, step.instances, stride=step.strides[level], size=(height, width))
        mask_BHW = step.zero_padding(level, mask_BHW)
        return imitation_sums(adapter(student_BDHW), teacher_BEHW, mask_BHW)


def imitation_sums(adapted_BEHW: Tensor, teacher_BEHW: Tensor, mask_BHW: Tensor) -> tuple[Tensor, Tensor]:
    """Return the errors of foreground and background of one level, and the counts to divide them by.

    ``fg = sum M (A(s) - t)^2 / max(1, 2 sum M)``, where the mask M holds the weight of the box that covers a cell and
    is broadcast over channels in both sums; ``bg`` is the same with M = 1 on the cells that no box covers. The inside
    of a box of weight 0 and padding belong to neither. Tang et al., ECCV 2022, arXiv 2210.09022; decoupling after Guo
    et al., "Distilling Object Detectors via Decoupled Features", CVPR 2021, arXiv 2103.14475.

    Args:
        adapted_BEHW: the student's map after its adapter, with gradient.
        teacher_BEHW: the teacher's; no gradient flows into it.
        mask_BHW: the weight of the box that covers a cell, -1 where none does, and 0 in padding.

    Returns:
        Two tensors of shape (2,), foreground and background: the numerators, and ``2 sum M``.
    """
    channels = teacher_BEHW.shape[1]
    error_BHW = (adapted_BEHW - teacher_BEHW.detach()).square().sum(dim=1)
    foreground_BHW = mask_BHW.clamp(min=0)
    background_BHW = (mask_BHW < 0).to(error_BHW.dtype)
    parts = (foreground_BHW, background_BHW)
    errors_2 = torch.stack([(error_BHW * part_BHW).sum() for part_BHW in parts])
    return errors_2, torch.stack([2 * channels * part_BHW.sum() for part_BHW in parts])


def build_local_knowledge(settings: DistillationSettings, context: TermContext) -> LocalKnowledgeTerm:
    """Build the term. Raises ``ConfigError`` when its adapter does not fit."""
    local = settings.local_knowledge
    return LocalKnowledgeTerm(
        context.adapters(local.adapter, term="local_knowledge"),
        average=local.average,
        background_ratio=local.background_ratio,
        base_size_px=context.base_size(local.base_size_px),
        robust=local.robust,
    )
