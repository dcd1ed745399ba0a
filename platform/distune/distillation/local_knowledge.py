"""The local knowledge term: imitation of the teacher's maps, decoupled into foreground and background.

Shape legend: ``B`` batch, ``E`` teacher channels, ``H`` ``W`` a map, ``N`` instances, ``L`` levels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distune.config.distillation import DistillationSettings
from distune.detectors.taps import Instances
from distune.distillation.adapters import build_adapters
from distune.distillation.cells import centred_cells
from distune.distillation.term import Step, TermContext

_FINEST_STRIDE = 4


def level_of_boxes(boxes_N4: Tensor, strides: tuple[int, ...], *, base_size_px: float) -> Tensor:
    """The level that each box belongs to: ``floor(log2(sqrt(area) / base_size))`` counted from stride 4.

    A level that is not there gives way to the next finer one, or to the finest of all.

    Args:
        boxes_N4: xyxy pixels.
        strides: of the levels, fine to coarse.
        base_size_px: boxes from this side to twice of it belong to stride 4, the next doubling to stride 8, and so on.

    Returns:
        (N,) int64 indices into ``strides``.
    """
    width_N, height_N = boxes_N4[:, 2] - boxes_N4[:, 0], boxes_N4[:, 3] - boxes_N4[:, 1]
    doublings_N = torch.floor(torch.log2(torch.sqrt(width_N * height_N) / base_size_px))
    reached = [2.0**doublings_N * _FINEST_STRIDE >= stride for stride in strides[1:]]
    return sum(reached, torch.zeros_like(doublings_N, dtype=torch.int64))


def weight_mask(values_N: Tensor, instances: Instances, *, stride: int, size: tuple[int, int]) -> Tensor:
    """Paints the boxes onto a map; where they overlap the largest value stays, so their order does not matter.

    A box covers the cells whose centre it holds and the cell that holds its own centre (``cells.centred_cells``).

    Args:
        values_N: what to paint for each box, at least 0, or -1 for boxes that are not painted.
        instances: the boxes.
        stride: pixels per cell.
        size: height and width of the map.

    Returns:
        (B, H, W); -1 where no box was painted.
    """
    x1_N, y1_N, x2_N, y2_N = instances.boxes_N4.unbind(1)
    rows_NH = centred_cells(y1_N, y2_N, stride=stride, num_cells=size[0])
    columns_NW = centred_cells(x1_N, x2_N, stride=stride, num_cells=size[1])
    covered_NHW = rows_NH[:, :, None] & columns_NW[:, None, :]
    painted_NP = torch.where(covered_NHW, values_N[:, None, None], -1.0).flatten(1)
    mask_BP = torch.full((len(instances.counts), size[0] * size[1]), -1.0, device=values_N.device)
    mask_BP.scatter_reduce_(0, instances.image_of_N[:, None].expand_as(painted_NP), painted_NP, "amax")
    return mask_BP.reshape(-1, *size)


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
    """

    needs_prototypes = False

    def __init__(self, adapters: nn.ModuleList, *, background_ratio: float, base_size_px: float) -> None:
        super().__init__()
        self.adapters = adapters
        self.background_ratio = background_ratio
        self.base_size_px = base_size_px

    def forward(self, step: Step) -> Tensor:
        """The loss of a step. Raises ``ValueError`` when maps of a level differ in size."""
        instances = step.student.instances
        level_N = level_of_boxes(instances.boxes_N4, step.strides, base_size_px=self.base_size_px)
        losses: list[Tensor] = []
        for level, (stride, adapter) in enumerate(zip(step.strides, self.adapters, strict=True)):
            adapted_BEHW: Tensor = adapter(step.student.neck[stride].float())
            teacher_BEHW = step.teacher.neck[stride].float()
            if adapted_BEHW.shape != teacher_BEHW.shape:
                raise ValueError(
                    f"maps of stride {stride} differ: the student's is {tuple(adapted_BEHW.shape)} after its adapter, "
                    f"the teacher's {tuple(teacher_BEHW.shape)}; both must see the same padded batch"
                )
            height, width = teacher_BEHW.shape[-2:]
            values_N = torch.where(level_N == level, step.weights.local_LN[level], -1.0)
            mask_BHW = weight_mask(values_N, instances, stride=stride, size=(height, width))
            foreground, background = decoupled_imitation(adapted_BEHW, teacher_BEHW, mask_BHW)
            losses.append(foreground + self.background_ratio * background)
        return torch.stack(losses).mean()


def build_local_knowledge(settings: DistillationSettings, context: TermContext) -> LocalKnowledge:
    """The term that the settings describe. Raises ``ConfigError`` when its adapter does not fit."""
    own = settings.local_knowledge
    adapters = build_adapters(
        own.adapter,
        num_levels=len(context.strides),
        student_channels=context.student_channels,
        teacher_channels=context.teacher_channels,
        generator=context.generator,
    )
    return LocalKnowledge(adapters, background_ratio=own.background_ratio, base_size_px=own.base_size_px)
