"""The CWD term: each channel of the student's maps is active at the same positions as the teacher's.

Shape legend: ``B`` batch, ``E`` teacher channels, ``H`` ``W`` a map, ``P`` its positions.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from distune.collectives import part_factor
from distune.config.distillation import DistillationSettings
from distune.distillation.term import Step, TermContext
from distune.distillation.terms.map_term import MapTerm


def channel_divergence(
    adapted_BEHW: Tensor,
    teacher_BEHW: Tensor,
    weights_BHW: Tensor,
    valid_BHW: Tensor | None = None,
    *,
    temperature: float,
) -> Tensor:
    """Return the divergence between the models' channel activations over the positions of one level.

    ``T^2/(BE) sum_{b,e} v_b KL(p^t_be || p^s_be)`` with ``p_be(c) = w_bc exp(x_bec / T) / sum_c w_bc exp(x_bec / T)``
    over the positions c of an image: a softmax in which each position counts by its weight, so it stays a
    distribution and the loss at least 0. ``v_b`` is the mean weight of the image's valid positions: an image fades as
    its weights do. With weights 1 it is the loss of Shu et al., "Channel-wise Knowledge Distillation for Dense
    Prediction", ICCV 2021, arXiv 2011.13256.

    Args:
        adapted_BEHW: the student's map after its adapter, with gradient.
        teacher_BEHW: the teacher's; no gradient flows into it.
        weights_BHW: of each position, at least 0, and 0 where not valid; no gradient flows into them.
        valid_BHW: the positions that belong to an image; None counts all.
        temperature: T, more than 0; a small one concentrates on few positions.

    Returns:
        A scalar.
    """
    weights_BP = weights_BHW.detach().flatten(1)
    present_B1 = weights_BP.amax(dim=1, keepdim=True) > 0
    # Where all weights are 0, v is too; the logarithm only has to stay finite somewhere.
    log_weights_B1P = torch.where(present_B1, weights_BP, 1.0).log()[:, None, :]
    student_BEP = adapted_BEHW.flatten(2) / temperature
    teacher_BEP = teacher_BEHW.detach().flatten(2) / temperature
    student_norm_BE1 = (student_BEP + log_weights_B1P).logsumexp(dim=2, keepdim=True)
    teacher_norm_BE1 = (teacher_BEP + log_weights_B1P).logsumexp(dim=2, keepdim=True)
    target_BEP = (teacher_BEP + log_weights_B1P - teacher_norm_BE1).exp()
    # log p^t - log p^s, in which the weights cancel: it stays finite where they are 0.
    ratio_BEP = (teacher_BEP - teacher_norm_BE1) - (student_BEP - student_norm_BE1)
    divergence_BE = (target_BEP * ratio_BEP).sum(dim=2)
    if valid_BHW is None:
        fade_B1 = weights_BP.mean(dim=1, keepdim=True)
    else:
        fade_B1 = weights_BP.sum(dim=1, keepdim=True) / valid_BHW.flatten(1).sum(dim=1, keepdim=True)
    return temperature**2 * (fade_B1 * divergence_BE).mean() * part_factor(adapted_BEHW.shape[0], adapted_BEHW)


def level_loss(step: Step, level: int, adapter: nn.Module, *, temperature: float, robust: bool) -> Tensor:
    """Return the loss of one level, in which the cells inside boxes count by the filter's weights when ``robust``."""
    student_BDHW, teacher_BEHW = step.imitation_maps(level)
    weights_BHW = step.cell_weights(level, robust=robust)
    return channel_divergence(
        adapter(student_BDHW), teacher_BEHW, weights_BHW, step.valid_cells(level), temperature=temperature
    )


def build_cwd(settings: DistillationSettings, context: TermContext) -> MapTerm:
    """Build the term. Raises ``ConfigError`` when its adapter does not fit."""
    cwd = settings.cwd
    return MapTerm(
        functools.partial(level_loss, temperature=cwd.temperature, robust=cwd.robust),
        adapters=context.adapters(cwd.adapter, term="cwd"),
    )
