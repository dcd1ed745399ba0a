"""The PKD term: imitation of how the teacher's maps vary, whatever their offset and scale.

Shape legend: ``B`` batch, ``E`` teacher channels, ``H`` ``W`` a map.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distune.config.distillation import DistillationSettings
from distune.distillation.term import Step, TermContext

_SMALLEST_SHARE = 1e-10
"""Of the mean square: a variance below it is rounding. Relative, so that the loss has no scale of its own."""


def standardised(map_BEHW: Tensor, weights_BHW: Tensor) -> Tensor:
    """Each channel with weighted mean 0 and weighted variance 1 over batch and positions, (B, E, H, W).

    A channel that does not vary becomes 0 and sends no gradient.
    """
    weights_B1HW = weights_BHW[:, None]
    total = weights_BHW.sum()
    shares_B1HW = weights_B1HW / torch.where(total > 0, total, 1.0)
    mean_E = (shares_B1HW * map_BEHW).sum(dim=(0, 2, 3))
    centred_BEHW = map_BEHW - mean_E[:, None, None]
    variance_E = (shares_B1HW * centred_BEHW.square()).sum(dim=(0, 2, 3))
    is_varying_E = variance_E > _SMALLEST_SHARE * (variance_E + mean_E.square())
    factor_E = torch.where(is_varying_E, torch.where(is_varying_E, variance_E, 1.0).rsqrt(), 0.0)
    return centred_BEHW * factor_E[:, None, None]


def pearson_imitation(adapted_BEHW: Tensor, teacher_BEHW: Tensor, weights_BHW: Tensor) -> Tensor:
    """Half the weighted mean squared difference between standardised maps of one level.

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
        target_BEHW = standardised(teacher_BEHW, weights_BHW)
    error_BHW = (standardised(adapted_BEHW, weights_BHW) - target_BEHW).square().mean(dim=1)
    total = weights_BHW.sum()
    return (weights_BHW * error_BHW).sum() / (2 * torch.where(total > 0, total, 1.0))


class Pkd(nn.Module):
    """The term: the mean over levels.

    Args:
        adapters: one per level.
        robust: whether cells inside boxes count by the filter's weights, in mean, variance and error alike.
    """

    needs_prototypes = False

    def __init__(self, adapters: nn.ModuleList, *, robust: bool = True) -> None:
        super().__init__()
        self.adapters = adapters
        self.robust = robust

    def forward(self, step: Step) -> Tensor:
        """The loss of a step."""
        losses: list[Tensor] = []
        for level, adapter in enumerate(self.adapters):
            student_BDHW, teacher_BEHW = step.maps(level)
            weights_BHW = step.cell_weights(level, robust=self.robust)
            losses.append(pearson_imitation(adapter(student_BDHW), teacher_BEHW, weights_BHW))
        return torch.stack(losses).mean()


def build_pkd(settings: DistillationSettings, context: TermContext) -> Pkd:
    """The term that the settings describe. Raises ``ConfigError`` when its adapter does not fit."""
    own = settings.pkd
    return Pkd(context.adapters(own.adapter, term="pkd"), robust=own.robust)
