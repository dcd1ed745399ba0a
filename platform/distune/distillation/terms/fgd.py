"""The FGD term: imitation where the teacher looks (focal), and of how it relates the cells of an image (global).

Yang et al., "Focal and Global Knowledge Distillation for Detectors", CVPR 2022, arXiv 2111.11837.

Shape legend: ``B`` batch, ``E`` teacher channels, ``H`` ``W`` a map, ``N`` instances.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distune.config.distillation import DistillationSettings
from distune.detectors.taps import Instances
from distune.distillation.maps.box_cells import centred_cells
from distune.distillation.maps.box_masks import weight_mask
from distune.distillation.maps.global_context import ContextRelation
from distune.distillation.term import Step, TermContext


def attention(map_BEHW: Tensor, *, temperature: float) -> tuple[Tensor, Tensor]:
    """Where a map looks: spatial attention, (B, H, W) of mean 1, and channel attention, (B, E) of mean 1.

    ``A^S = HW softmax_c(mean_e |F_ec| / T)`` over the cells c, ``A^C = E softmax_e(mean_c |F_ec| / T)`` over channels.
    """
    batch, channels, height, width = map_BEHW.shape
    size_BEHW = map_BEHW.abs()
    spatial_BHW = (size_BEHW.mean(dim=1).flatten(1) / temperature).softmax(dim=1).reshape(batch, height, width)
    channel_BE = (size_BEHW.mean(dim=(2, 3)) / temperature).softmax(dim=1)
    return height * width * spatial_BHW, channels * channel_BE


def foreground_scale(weights_N: Tensor, instances: Instances, *, stride: int, size: tuple[int, int]) -> Tensor:
    """``w / (h w)`` of the box that a cell belongs to, (B, H, W); -1 where there is none.

    h and w count the cells that the box covers, so that a box without overlap sums up to its weight. Of several boxes
    the smallest by area has the cell; of equal ones that with the largest value, so that their order does not matter.

    Args:
        weights_N: of the boxes, at least 0.
        instances: the boxes.
        stride: pixels per cell.
        size: height and width of the map.
    """
    x1_N, y1_N, x2_N, y2_N = instances.boxes_N4.unbind(1)
    rows_N = centred_cells(y1_N, y2_N, stride=stride, num_cells=size[0]).sum(dim=1)
    columns_N = centred_cells(x1_N, x2_N, stride=stride, num_cells=size[1]).sum(dim=1)
    value_N = weights_N / (rows_N * columns_N)
    by_value_N = value_N.argsort()
    area_N = ((x2_N - x1_N) * (y2_N - y1_N))[by_value_N]
    order_N = by_value_N[area_N.argsort(descending=True, stable=True)]
    rank_BHW = weight_mask(order_N.argsort().to(value_N.dtype), instances, stride=stride, size=size)
    ranked_N = torch.cat([value_N.new_full((1,), -1.0), value_N[order_N]])
    return ranked_N[rank_BHW.long() + 1]


def focal_imitation(
    adapted_BEHW: Tensor, teacher_BEHW: Tensor, scale_BHW: Tensor, *, num_boxes: int, temperature: float
) -> tuple[Tensor, Tensor]:
    """Foreground and background loss of one level, weighted by the teacher's attention.

    ``fg = 1/max(1, N) sum_{c in boxes} S_c A^S_c mean_e A^C_e (A(s) - t)_ec^2`` with S from ``foreground_scale`` and N
    boxes in the batch; ``bg = 1/B sum_{c in no box} 1/n_b A^S_c mean_e A^C_e (A(s) - t)_ec^2`` with n_b such cells in
    the image, at least 1. The paper sums over channels and boxes and takes the mean over images.

    Args:
        adapted_BEHW: the student's map after its adapter, with gradient.
        teacher_BEHW: the teacher's; no gradient flows into it or its attention.
        scale_BHW: -1 on the background.
        num_boxes: N.
        temperature: of the attention, more than 0.

    Returns:
        Two scalars: foreground, background.
    """
    teacher_BEHW = teacher_BEHW.detach()
    spatial_BHW, channel_BE = attention(teacher_BEHW, temperature=temperature)
    squared_BEHW = (adapted_BEHW - teacher_BEHW).square()
    error_BHW = spatial_BHW * torch.einsum("be,behw->bhw", channel_BE / channel_BE.shape[1], squared_BEHW)
    scale_BHW = scale_BHW.detach()
    foreground = (error_BHW * scale_BHW.clamp(min=0)).sum() / max(1, num_boxes)
    background_BHW = (scale_BHW < 0).to(error_BHW.dtype)
    background_B = (error_BHW * background_BHW).sum(dim=(1, 2)) / background_BHW.sum(dim=(1, 2)).clamp(min=1)
    return foreground, background_B.mean()


def attention_imitation(
    adapted_BEHW: Tensor, teacher_BEHW: Tensor, weights_BHW: Tensor, *, temperature: float
) -> Tensor:
    """``mean_{b,c} w_c |A^S_s - A^S_t| + mean_{b,e} |A^C_s - A^C_t|`` of one level, a scalar.

    Weights act on cells alone. No gradient flows into them or the teacher.
    """
    spatial_BHW, channel_BE = attention(adapted_BEHW, temperature=temperature)
    teacher_BHW, teacher_BE = attention(teacher_BEHW.detach(), temperature=temperature)
    spatial = (weights_BHW.detach() * (spatial_BHW - teacher_BHW).abs()).mean()
    return spatial + (channel_BE - teacher_BE).abs().mean()


def relation_imitation(related_BEHW: Tensor, teacher_BEHW: Tensor, weights_BHW: Tensor) -> Tensor:
    """``mean_{b,e,c} w_c (R(A(s)) - R(t))_ec^2`` of one level, a scalar; R is ``ContextRelation``.

    The teacher's R has weights of its own, which get gradient; no gradient flows into the cells' weights.
    """
    return (weights_BHW.detach() * (related_BEHW - teacher_BEHW).square().mean(dim=1)).mean()


class Fgd(nn.Module):
    """The term: the mean over levels of ``fg + background_ratio bg + attention_ratio at + relation_ratio rel``.

    All boxes count on all levels. It is 0 when the adapted student equals the teacher and training has not begun: the
    last layer of either relation starts at zero, as the original's does, so both are the identity then.

    Args:
        adapters: one per level.
        relations: R of the student, one per level.
        teacher_relations: R of the teacher, one per level.
        temperature: of the attention.
        background_ratio: weight of the background over the foreground's.
        attention_ratio: weight of the attention imitation over the foreground's.
        relation_ratio: weight of the relations over the foreground's.
        robust: whether boxes and the cells in them count by the filter's weights.
    """

    needs_prototypes = False

    def __init__(
        self,
        adapters: nn.ModuleList,
        relations: nn.ModuleList,
        teacher_relations: nn.ModuleList,
        *,
        temperature: float,
        background_ratio: float,
        attention_ratio: float,
        relation_ratio: float,
        robust: bool = True,
    ) -> None:
        super().__init__()
        self.adapters = adapters
        self.relations = relations
        self.teacher_relations = teacher_relations
        self.temperature = temperature
        self.background_ratio = background_ratio
        self.attention_ratio = attention_ratio
        self.relation_ratio = relation_ratio
        self.robust = robust

    def forward(self, step: Step) -> Tensor:
        """The loss of a step."""
        return torch.stack([self._of_level(step, level) for level in range(len(step.strides))]).mean()

    def _of_level(self, step: Step, level: int) -> Tensor:
        student_BDHW, teacher_BEHW = step.imitated(level)
        adapted_BEHW = self.adapters[level](student_BDHW)
        weights_BHW = step.cell_weights(level, robust=self.robust)
        scale_BHW = foreground_scale(
            step.local_weights(robust=self.robust)[level],
            step.instances,
            stride=step.strides[level],
            size=(teacher_BEHW.shape[-2], teacher_BEHW.shape[-1]),
        )
        foreground, background = focal_imitation(
            adapted_BEHW,
            teacher_BEHW,
            scale_BHW,
            num_boxes=sum(step.instances.counts),
            temperature=self.temperature,
        )
        imitated = attention_imitation(adapted_BEHW, teacher_BEHW, weights_BHW, temperature=self.temperature)
        related_BEHW = self.relations[level](adapted_BEHW)
        relation = relation_imitation(related_BEHW, self.teacher_relations[level](teacher_BEHW), weights_BHW)
        return (
            foreground
            + self.background_ratio * background
            + self.attention_ratio * imitated
            + self.relation_ratio * relation
        )


def build_fgd(settings: DistillationSettings, context: TermContext) -> Fgd:
    """The term that the settings describe. Raises ``ConfigError`` when its adapter does not fit."""
    own = settings.fgd
    adapters = context.adapters(own.adapter, term="fgd")
    relations, teacher_relations = (
        nn.ModuleList(ContextRelation(channels, generator=context.generator) for channels in context.teacher_channels)
        for _ in range(2)
    )
    return Fgd(
        adapters,
        relations,
        teacher_relations,
        temperature=own.temperature,
        background_ratio=own.background_ratio,
        attention_ratio=own.attention_ratio,
        relation_ratio=own.relation_ratio,
        robust=own.robust,
    )
