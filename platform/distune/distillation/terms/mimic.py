"""The mimic term: plain imitation of the teacher's maps, or of what they hold of each instance.

Shape legend: ``B`` batch, ``E`` teacher channels, ``H`` ``W`` a map, ``N`` instances.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from distune.config.distillation import DistillationSettings
from distune.distillation.maps.pooling import Pooling, pool_instances
from distune.distillation.term import Step, TermContext

Regions = Literal["whole", "boxes"]


def map_imitation(adapted_BEHW: Tensor, teacher_BEHW: Tensor, weights_BHW: Tensor) -> Tensor:
    """The mean squared error of one level over all cells and channels, weighted by cell.

    ``1/(BHW) sum_c w_c mean_e (A(s) - t)_ec^2`` over the cells c of the batch: a cell of weight 0 counts as one without
    an error. Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015, arXiv 1412.6550, where the error is summed.

    Args:
        adapted_BEHW: the student's map after its adapter, with gradient.
        teacher_BEHW: the teacher's; no gradient flows into it.
        weights_BHW: of each cell, at least 0; no gradient flows into them.

    Returns:
        A scalar.
    """
    error_BHW = (adapted_BEHW - teacher_BEHW.detach()).square().mean(dim=1)
    return (weights_BHW.detach() * error_BHW).mean()


def instance_imitation(adapted_NE: Tensor, teacher_NE: Tensor, weights_N: Tensor) -> Tensor:
    """The mean squared error between pooled features of one level over all instances and channels.

    ``1/N sum_n w_n mean_e (A(s) - t)_ne^2``; 0 without instances. Li et al., "Mimicking Very Efficient Network for
    Object Detection", CVPR 2017, which pools proposals into grids of cells; here it is ground truth and its mean.

    Args:
        adapted_NE: the features of N instances on the adapted map, with gradient.
        teacher_NE: the teacher's; no gradient flows into them.
        weights_N: of each instance, at least 0; no gradient flows into them.

    Returns:
        A scalar.
    """
    error_N = (adapted_NE - teacher_NE.detach()).square().mean(dim=1)
    return (weights_N.detach() * error_N).sum() / max(1, weights_N.shape[0])


class Mimic(nn.Module):
    """The term: the mean over levels.

    Args:
        adapters: one per level.
        regions: ``whole`` compares all cells; ``boxes`` compares the pooled features of ground-truth boxes.
        pooling: how features of boxes are averaged, as the step's are.
        robust: whether boxes, and the cells in them, count by the filter's weights.
    """

    needs_prototypes = False

    def __init__(self, adapters: nn.ModuleList, *, regions: Regions, pooling: Pooling, robust: bool = True) -> None:
        super().__init__()
        self.adapters = adapters
        self.regions = regions
        self.pooling = pooling
        self.robust = robust

    def forward(self, step: Step) -> Tensor:
        """The loss of a step."""
        compare = self._of_boxes if self.regions == "boxes" else self._of_whole
        return torch.stack([compare(step, level) for level in range(len(step.strides))]).mean()

    def _of_whole(self, step: Step, level: int) -> Tensor:
        student_BDHW, teacher_BEHW = step.imitated(level)
        weights_BHW = step.cell_weights(level, robust=self.robust)
        return map_imitation(self.adapters[level](student_BDHW), teacher_BEHW, weights_BHW)

    def _of_boxes(self, step: Step, level: int) -> Tensor:
        stride = step.strides[level]
        adapted_BEHW = self.adapters[level](step.student.neck[stride].float())
        adapted_NE = pool_instances(adapted_BEHW, step.instances, stride=stride, pooling=self.pooling)
        # Pooled features of a level are filled up with zeros to the width of the widest one.
        teacher_NE = step.features().teacher_LNE[level, :, : adapted_NE.shape[1]]
        return instance_imitation(adapted_NE, teacher_NE, step.local_weights(robust=self.robust)[level])


def build_mimic(settings: DistillationSettings, context: TermContext) -> Mimic:
    """The term that the settings describe. Raises ``ConfigError`` when its adapter does not fit."""
    own = settings.mimic
    adapters = context.adapters(own.adapter, term="mimic")
    return Mimic(adapters, regions=own.regions, pooling=settings.pooling, robust=own.robust)
