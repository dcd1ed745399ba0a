"""The local knowledge term: imitation of the teacher's maps, decoupled into foreground and background.

Shape legend: ``B`` batch, ``E`` teacher channels, ``H`` ``W`` a map, ``N`` instances.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from distune.collectives import batch_count
from distune.config.distillation import DistillationSettings
from distune.distillation.maps.box_masks import weight_mask
from distune.distillation.term import Step, TermContext
from distune.distillation.terms.map_term import MapTerm


def decoupled_imitation(adapted_BEHW: Tensor, teacher_BEHW: Tensor, mask_BHW: Tensor) -> tuple[Tensor, Tensor]:
    """Return the foreground and the background loss of one level.

    ``fg = sum M (A(s) - t)^2 / max(1, 2 sum M)``, where the mask M holds the weight of the box that covers a cell and
    is broadcast over channels in both sums; ``bg`` is the same with M = 1 on the cells that no box covers. The inside
    of a box of weight 0 and padding belong to neither. Tang et al., ECCV 2022, arXiv 2210.09022; decoupling after Guo
    et al., "Distilling Object Detectors via Decoupled Features", CVPR 2021, arXiv 2103.14475.

    Args:
        adapted_BEHW: the student's map after its adapter, with gradient.
        teacher_BEHW: the teacher's; no gradient flows into it.
        mask_BHW: the weight of the box that covers a cell, -1 where none does, and 0 in padding.

    Returns:
        Two scalars: foreground, background.
    """
    channels = teacher_BEHW.shape[1]
    error_BHW = (adapted_BEHW - teacher_BEHW.detach()).square().sum(dim=1)
    foreground_BHW = mask_BHW.clamp(min=0)
    background_BHW = (mask_BHW < 0).to(error_BHW.dtype)
    foreground, background = (
        (error_BHW * m).sum() / batch_count(2 * channels * m.sum(), at_least=1)
        for m in (foreground_BHW, background_BHW)
    )
    return foreground, background


def level_loss(
    step: Step, level: int, adapter: nn.Module, *, background_ratio: float, base_size_px: float, robust: bool
) -> Tensor:
    """Return ``fg + background_ratio bg`` of one level, with the boxes that belong to it.

    Boxes count by the filter's weights when ``robust``; those of ``base_size_px`` begin to belong to stride 4.
    """
    student_BDHW, teacher_BEHW = step.imitation_maps(level)
    height, width = teacher_BEHW.shape[-2:]
    is_here_N = step.level_of_boxes(base_size_px) == level
    values_N = torch.where(is_here_N, step.local_weights(robust=robust)[level], -1.0)
    mask_BHW = weight_mask(values_N, step.instances, stride=step.strides[level], size=(height, width))
    mask_BHW = step.zero_padding(level, mask_BHW)
    foreground, background = decoupled_imitation(adapter(student_BDHW), teacher_BEHW, mask_BHW)
    return foreground + background_ratio * background


def build_local_knowledge(settings: DistillationSettings, context: TermContext) -> MapTerm:
    """Build the term. Raises ``ConfigError`` when its adapter does not fit."""
    local = settings.local_knowledge
    loss = functools.partial(
        level_loss,
        background_ratio=local.background_ratio,
        base_size_px=context.base_size(local.base_size_px),
        robust=local.robust,
    )
    return MapTerm(loss, adapters=context.adapters(local.adapter, term="local_knowledge"))
