"""The mimic term: plain imitation of the teacher's maps, or of the pooled features of each instance.

Shape legend: ``B`` batch, ``E`` teacher channels, ``H`` ``W`` a map, ``N`` instances.
"""

from __future__ import annotations

import functools

from torch import Tensor, nn

from distune.collectives import batch_number
from distune.config.distillation import DistillationSettings
from distune.distillation.maps.padding import mean_over_cells
from distune.distillation.maps.pooling import Pooling, pool_instances
from distune.distillation.term import Step, TermContext
from distune.distillation.terms.map_term import MapTerm


def map_imitation(
    adapted_BEHW: Tensor, teacher_BEHW: Tensor, weights_BHW: Tensor, valid_BHW: Tensor | None = None
) -> Tensor:
    """Return the mean squared error of one level over all cells and channels, weighted by cell.

    ``1/n sum_c w_c mean_e (A(s) - t)_ec^2`` over the n valid cells c of the batch: a cell of weight 0 counts as one
    without an error. Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015, arXiv 1412.6550, where the error is
    summed.

    Args:
        adapted_BEHW: the student's map after its adapter, with gradient.
        teacher_BEHW: the teacher's; no gradient flows into it.
        weights_BHW: of each cell, at least 0; no gradient flows into them.
        valid_BHW: the cells that belong to an image; None counts all.

    Returns:
        A scalar.
    """
    error_BHW = (adapted_BEHW - teacher_BEHW.detach()).square().mean(dim=1)
    return mean_over_cells(weights_BHW.detach() * error_BHW, valid_BHW)


def instance_imitation(adapted_NE: Tensor, teacher_NE: Tensor, weights_N: Tensor) -> Tensor:
    """Return the mean squared error between pooled features of one level over all instances and channels.

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
    return (weights_N.detach() * error_N).sum() / batch_number(weights_N.shape[0], weights_N)


def whole_map_loss(step: Step, level: int, adapter: nn.Module, *, robust: bool) -> Tensor:
    """Return the loss of one level over all cells; those inside boxes count by the filter's weights when ``robust``."""
    student_BDHW, teacher_BEHW = step.imitation_maps(level)
    weights_BHW = step.cell_weights(level, robust=robust)
    return map_imitation(adapter(student_BDHW), teacher_BEHW, weights_BHW, step.valid_cells(level))


def box_feature_loss(step: Step, level: int, adapter: nn.Module, *, pooling: Pooling, robust: bool) -> Tensor:
    """Return the loss of one level between the features of ground-truth boxes, pooled from the adapted map.

    Boxes count by the filter's weights when ``robust``.
    """
    stride = step.strides[level]
    adapted_BEHW = adapter(step.student.neck[stride].float())
    adapted_NE = pool_instances(adapted_BEHW, step.instances, stride=stride, pooling=pooling)
    # Pooled features of a level are padded with zeros to the width of the widest one.
    teacher_NE = step.features().teacher_LNE[level, :, : adapted_NE.shape[1]]
    return instance_imitation(adapted_NE, teacher_NE, step.local_weights(robust=robust)[level])


def build_mimic(settings: DistillationSettings, context: TermContext) -> MapTerm:
    """Build the term. Raises ``ConfigError`` when its adapter does not fit."""
    mimic = settings.mimic
    loss = functools.partial(whole_map_loss, robust=mimic.robust)
    if mimic.regions == "boxes":
        loss = functools.partial(box_feature_loss, pooling=settings.pooling, robust=mimic.robust)
    return MapTerm(loss, adapters=context.adapters(mimic.adapter, term="mimic"))
