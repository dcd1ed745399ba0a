"""The PKD term: imitation of the variation of the teacher's maps, independent of offset and scale.

Shape legend: ``B`` batch, ``E`` teacher channels, ``H`` ``W`` a map.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from distune.collectives import batch_count, sum_over_processes, sum_with_gradient
from distune.config.distillation import DistillationSettings
from distune.distillation.term import Step, TermContext
from distune.distillation.terms.map_term import MapTerm

_MIN_VARIANCE_FRACTION = 1e-10
"""Of the mean square: a smaller variance is rounding error. Relative, so that the loss does not depend on scale."""


def standardize(map_BEHW: Tensor, weights_BHW: Tensor) -> Tensor:
    """Return the map, (B, E, H, W), with weighted mean 0 and variance 1 over batch and positions in each channel.

    A channel that does not vary becomes 0 and sends no gradient.
    """
    weights_B1HW = weights_BHW[:, None]
    total = sum_over_processes(weights_BHW.sum())
    fractions_B1HW = weights_B1HW / torch.where(total > 0, total, 1.0)
    mean_E = sum_with_gradient((fractions_B1HW * map_BEHW).sum(dim=(0, 2, 3)))
    centered_BEHW = map_BEHW - mean_E[:, None, None]
    variance_E = sum_with_gradient((fractions_B1HW * centered_BEHW.square()).sum(dim=(0, 2, 3)))
    is_varying_E = variance_E > _MIN_VARIANCE_FRACTION * (variance_E + mean_E.square())
    factor_E = torch.where(is_varying_E, torch.where(is_varying_E, variance_E, 1.0).rsqrt(), 0.0)
    return centered_BEHW * factor_E[:, None, None]


def pearson_imitation(adapted_BEHW: Tensor, teacher_BEHW: Tensor, weights_BHW: Tensor) -> Tensor:
    """Return half the weighted mean squared difference between standardized maps of one level.

    ``mean_e 1/2 sum_c w_c (z^s_ec - z^t_ec)^2 / sum_c w_c`` over the cells c of the whole batch, where
    ``z = (x - mean_w x) / sqrt(var_w x)`` for each channel e. With mean and variance over the same cells and weights
    it is ``mean_e (1 - r_e)`` with Pearson's correlation r: between 0 and 2, and the same for ``a x + b`` with a > 0. A
    channel that does not vary in one model counts 1/2, in both 0. Without any weight the loss is 0. Cao et al., "PKD:
    General Distillation Framework for Object Detectors via Pearson Correlation Coefficient", NeurIPS 2022, arXiv
    2207.02039.

    Args:
        adapted_BEHW: the student's map after its adapter, with gradient.
        teacher_BEHW: the teacher's; no gradient flows into it.
        weights_BHW: of each cell, at least 0; no gradient flows into them.

    Returns:
        A scalar.
    """
    weights_BHW = weights_BHW.detach()
    with torch.no_grad():
        target_BEHW = standardize(teacher_BEHW, weights_BHW)
    error_BHW = (standardize(adapted_BEHW, weights_BHW) - target_BEHW).square().mean(dim=1)
    total = batch_count(weights_BHW.sum())
    return (weights_BHW * error_BHW).sum() / (2 * torch.where(total > 0, total, 1.0))


def level_loss(step: Step, level: int, adapter: nn.Module, *, robust: bool) -> Tensor:
    """Return the loss of one level.

    The cells inside boxes count by the filter's weights when ``robust``, in mean, variance and error alike. The maps
    need no common scale: the loss has none.
    """
    student_BDHW, teacher_BEHW = step.maps(level)
    return pearson_imitation(adapter(student_BDHW), teacher_BEHW, step.cell_weights(level, robust=robust))


def build_pkd(settings: DistillationSettings, context: TermContext) -> MapTerm:
    """Build the term. Raises ``ConfigError`` when its adapter does not fit."""
    pkd = settings.pkd
    return MapTerm(functools.partial(level_loss, robust=pkd.robust), adapters=context.adapters(pkd.adapter, term="pkd"))
