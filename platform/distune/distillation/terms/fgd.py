"""The FGD term: imitation of maps weighted by the teacher's attention (focal), and of cell relations (global).

Yang et al., "Focal and Global Knowledge Distillation for Detectors", CVPR 2022, arXiv 2111.11837.

Shape legend: ``B`` batch, ``E`` teacher channels, ``H`` ``W`` a map, ``N`` instances.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from distune.collectives import batch_number, part_factor
from distune.config.distillation import DistillationSettings
from distune.detectors.taps import Instances
from distune.distillation.maps.box_masks import covered_cells, weight_mask
from distune.distillation.maps.global_context import ContextRelation
from distune.distillation.maps.padding import mean_over_cells
from distune.distillation.term import Step, TermContext
from distune.distillation.terms.map_term import MapTerm


def attention(map_BEHW: Tensor, valid_BHW: Tensor | None = None, *, temperature: float) -> tuple[Tensor, Tensor]:
    """Return the spatial attention of a map, (B, H, W) of mean 1, and its channel attention, (B, E) of mean 1.

    ``A^S = n softmax_c(mean_e |F_ec| / T)`` over the n valid cells c of an image, and 0 elsewhere; ``A^C = E
    softmax_e(mean_c |F_ec| / T)`` over channels. Without ``valid_BHW`` all cells are valid.
    """
    batch, channels, height, width = map_BEHW.shape
    size_BEHW = map_BEHW.abs()
    logits_BP = size_BEHW.mean(dim=1).flatten(1) / temperature
    if valid_BHW is None:
        spatial_BP = height * width * logits_BP.softmax(dim=1)
        mean_BE = size_BEHW.mean(dim=(2, 3))
    else:
        valid_BP = valid_BHW.flatten(1)
        num_B1 = valid_BP.sum(dim=1, keepdim=True)
        spatial_BP = num_B1 * logits_BP.masked_fill(~valid_BP, -torch.inf).softmax(dim=1)
        mean_BE = torch.where(valid_BHW[:, None], size_BEHW, 0.0).sum(dim=(2, 3)) / num_B1
    return spatial_BP.reshape(batch, height, width), channels * (mean_BE / temperature).softmax(dim=1)


def foreground_scale(weights_N: Tensor, instances: Instances, *, stride: int, size: tuple[int, int]) -> Tensor:
    """Return ``w / (h w)`` of the box that a cell belongs to.

    h and w count the cells that the box covers, so that a box without overlap sums to its weight. Of several boxes the
    smallest by area has the cell; of equal ones the one with the largest value, so that their order does not matter.

    Args:
        weights_N: of the boxes, at least 0.
        instances: the boxes.
        stride: pixels per cell.
        size: height and width of the map.

    Returns:
        (B, H, W); -1 outside of boxes.
    """
    x1_N, y1_N, x2_N, y2_N = instances.boxes_N4.unbind(1)
    rows_NH, columns_NW = covered_cells(instances, stride=stride, size=size)
    value_N = weights_N / (rows_NH.sum(dim=1) * columns_NW.sum(dim=1))
    by_value_N = value_N.argsort()
    area_N = ((x2_N - x1_N) * (y2_N - y1_N))[by_value_N]
    order_N = by_value_N[area_N.argsort(descending=True, stable=True)]
    rank_BHW = weight_mask(order_N.argsort().to(value_N.dtype), instances, stride=stride, size=size)
    ranked_N = torch.cat([value_N.new_full((1,), -1.0), value_N[order_N]])
    return ranked_N[rank_BHW.long() + 1]


def focal_imitation(
    adapted_BEHW: Tensor,
    teacher_BEHW: Tensor,
    scale_BHW: Tensor,
    valid_BHW: Tensor | None = None,
    *,
    num_boxes: int,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """Return the foreground and the background loss of one level, weighted by the teacher's attention.

    ``fg = 1/max(1, N) sum_{c in boxes} S_c A^S_c mean_e A^C_e (A(s) - t)_ec^2`` with S from ``foreground_scale`` and N
    boxes in the batch; ``bg = 1/B sum_{c in no box} 1/n_b A^S_c mean_e A^C_e (A(s) - t)_ec^2`` with n_b such cells in
    the image, at least 1. The paper sums over channels and boxes and takes the mean over images.

    Args:
        adapted_BEHW: the student's map after its adapter, with gradient.
        teacher_BEHW: the teacher's; no gradient flows into it or its attention.
        scale_BHW: -1 on the background, 0 in padding.
        valid_BHW: the cells that belong to an image; None counts all.
        num_boxes: N.
        temperature: of the attention, more than 0.

    Returns:
        Two scalars: foreground, background.
    """
    teacher_BEHW = teacher_BEHW.detach()
    spatial_BHW, channel_BE = attention(teacher_BEHW, valid_BHW, temperature=temperature)
    squared_BEHW = (adapted_BEHW - teacher_BEHW).square()
    error_BHW = spatial_BHW * torch.einsum("be,behw->bhw", channel_BE / channel_BE.shape[1], squared_BEHW)
    scale_BHW = scale_BHW.detach()
    foreground = (error_BHW * scale_BHW.clamp(min=0)).sum() / batch_number(num_boxes, error_BHW)
    background_BHW = (scale_BHW < 0).to(error_BHW.dtype)
    background_B = (error_BHW * background_BHW).sum(dim=(1, 2)) / background_BHW.sum(dim=(1, 2)).clamp(min=1)
    return foreground, background_B.mean() * part_factor(background_B.shape[0], background_B)


def attention_imitation(
    adapted_BEHW: Tensor,
    teacher_BEHW: Tensor,
    weights_BHW: Tensor,
    valid_BHW: Tensor | None = None,
    *,
    temperature: float,
) -> Tensor:
    """Return ``mean_{b,c} w_c |A^S_s - A^S_t| + mean_{b,e} |A^C_s - A^C_t|`` of one level, a scalar.

    Only valid cells count; without ``valid_BHW`` all do. Weights act on cells alone. No gradient flows into them or the
    teacher.
    """
    spatial_BHW, channel_BE = attention(adapted_BEHW, valid_BHW, temperature=temperature)
    teacher_BHW, teacher_BE = attention(teacher_BEHW.detach(), valid_BHW, temperature=temperature)
    spatial = mean_over_cells(weights_BHW.detach() * (spatial_BHW - teacher_BHW).abs(), valid_BHW)
    return spatial + (channel_BE - teacher_BE).abs().mean() * part_factor(channel_BE.shape[0], channel_BE)


def relation_imitation(
    related_BEHW: Tensor, teacher_BEHW: Tensor, weights_BHW: Tensor, valid_BHW: Tensor | None = None
) -> Tensor:
    """Return ``mean_{b,e,c} w_c (R(A(s)) - R(t))_ec^2`` of one level, a scalar; R is ``ContextRelation``.

    Only valid cells count; without ``valid_BHW`` all do. Student and teacher have separate R, and both get gradient; no
    gradient flows into the cells' weights.
    """
    return mean_over_cells(weights_BHW.detach() * (related_BEHW - teacher_BEHW).square().mean(dim=1), valid_BHW)


def level_loss(
    step: Step,
    level: int,
    adapter: nn.Module,
    relation: nn.Module,
    teacher_relation: nn.Module,
    *,
    temperature: float,
    background_ratio: float,
    attention_ratio: float,
    relation_ratio: float,
    robust: bool,
) -> Tensor:
    """Return ``fg + background_ratio bg + attention_ratio at + relation_ratio rel`` of one level.

    All boxes count on all levels, by the filter's weights when ``robust``. ``relation`` and ``teacher_relation`` are R
    of the student and the teacher. The loss is 0 when the adapted student equals the teacher and training has not
    begun: the last layer of either R starts at zero, as the original's does, so both are the identity then.
    """
    student_BDHW, teacher_BEHW = step.imitation_maps(level)
    adapted_BEHW = adapter(student_BDHW)
    weights_BHW, valid_BHW = step.cell_weights(level, robust=robust), step.valid_cells(level)
    scale_BHW = foreground_scale(
        step.local_weights(robust=robust)[level],
        step.instances,
        stride=step.strides[level],
        size=(teacher_BEHW.shape[-2], teacher_BEHW.shape[-1]),
    )
    foreground, background = focal_imitation(
        adapted_BEHW,
        teacher_BEHW,
        step.zero_padding(level, scale_BHW),
        valid_BHW,
        num_boxes=sum(step.instances.counts),
        temperature=temperature,
    )
    attention_loss = attention_imitation(adapted_BEHW, teacher_BEHW, weights_BHW, valid_BHW, temperature=temperature)
    relation_loss = relation_imitation(
        relation(adapted_BEHW, valid_BHW), teacher_relation(teacher_BEHW, valid_BHW), weights_BHW, valid_BHW
    )
    return (
        foreground + background_ratio * background + attention_ratio * attention_loss + relation_ratio * relation_loss
    )


def build_fgd(settings: DistillationSettings, context: TermContext) -> MapTerm:
    """Build the term. Raises ``ConfigError`` when its adapter does not fit."""
    fgd = settings.fgd
    adapters = context.adapters(fgd.adapter, term="fgd")
    relations, teacher_relations = (
        nn.ModuleList(ContextRelation(channels, generator=context.generator) for channels in context.teacher_channels)
        for _ in range(2)
    )
    loss = functools.partial(
        level_loss,
        temperature=fgd.temperature,
        background_ratio=fgd.background_ratio,
        attention_ratio=fgd.attention_ratio,
        relation_ratio=fgd.relation_ratio,
        robust=fgd.robust,
    )
    return MapTerm(loss, adapters=adapters, relations=relations, teacher_relations=teacher_relations)
