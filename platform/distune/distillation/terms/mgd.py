"""The MGD term: a small network generates the teacher's map from the student's, of which random cells are hidden.

Shape legend: ``B`` batch, ``E`` teacher channels, ``H`` ``W`` a map.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from distune.config.distillation import DistillationSettings
from distune.distillation.adapters import build_adapters
from distune.distillation.maps.padding import mean_over_cells, without_padding
from distune.distillation.term import Step, TermContext
from distune.distillation.terms.map_term import MapTerm


def hide_cells(map_BEHW: Tensor, random_BHW: Tensor, *, masked_fraction: float) -> Tensor:
    """Set all channels of the cells whose random number is below the masked fraction to 0.

    Args:
        map_BEHW: any map.
        random_BHW: a random number from 0 to 1 for each cell.
        masked_fraction: of the cells that are hidden, on average.

    Returns:
        (B, E, H, W).
    """
    return map_BEHW * (random_BHW >= masked_fraction)[:, None].to(map_BEHW.dtype)


def generation_loss(
    generated_BEHW: Tensor, teacher_BEHW: Tensor, weights_BHW: Tensor, valid_BHW: Tensor | None = None
) -> Tensor:
    """Return the mean squared error of the generated map over all channels and cells of one level, hidden or not.

    ``1/n sum_c w_c mean_e (G(A(s) o M)_ec - t_ec)^2`` over the n valid cells c, where M is 0 at random cells and 1
    elsewhere and G is a 3x3 convolution, ReLU, and another. Yang et al., "Masked Generative Distillation", ECCV 2022,
    arXiv 2205.01529, where errors are summed over cells and channels instead.

    Args:
        generated_BEHW: G's output, with gradient.
        teacher_BEHW: the teacher's map; no gradient flows into it.
        weights_BHW: of each cell, at least 0; no gradient flows into them.
        valid_BHW: the cells that belong to an image; None counts all.

    Returns:
        A scalar.
    """
    error_BHW = (generated_BEHW - teacher_BEHW.detach()).square().mean(dim=1)
    return mean_over_cells(weights_BHW.detach() * error_BHW, valid_BHW)


def level_loss(
    step: Step, level: int, adapter: nn.Module, generator: nn.Module, *, masked_fraction: float, robust: bool
) -> Tensor:
    """Return the loss of one level, in which the cells inside boxes count by the filter's weights when ``robust``.

    It is not 0 when the student equals the teacher: the hidden cells, and a generator that is not trained yet, remain.
    The paper hides 0.65 of the cells for one-stage and 0.5 for two-stage detectors. The hidden cells are drawn in each
    step, as by dropout, from torch's default generator of the device: save its state with the student so that a resumed
    trial draws the same.
    """
    student_BDHW, teacher_BEHW = step.imitation_maps(level)
    weights_BHW = step.cell_weights(level, robust=robust)
    random_BHW = torch.rand(weights_BHW.shape, device=weights_BHW.device)
    valid_BHW = step.valid_cells(level)
    # The adapter's bias leaves the edge of the map at 0, and that of an image too.
    adapted_BEHW = without_padding(adapter(student_BDHW), valid_BHW)
    visible_BEHW = hide_cells(adapted_BEHW, random_BHW, masked_fraction=masked_fraction)
    return generation_loss(generator(visible_BEHW), teacher_BEHW, weights_BHW, valid_BHW)


def build_mgd(settings: DistillationSettings, context: TermContext) -> MapTerm:
    """Build the term. Raises ``ConfigError`` when its adapter does not fit."""
    mgd = settings.mgd
    adapters = context.adapters(mgd.adapter, term="mgd")
    first, last = (_convolutions(context) for _ in range(2))
    generators = nn.ModuleList(
        nn.Sequential(*pair) for pair in zip(first, [nn.ReLU() for _ in first], last, strict=True)
    )
    loss = functools.partial(level_loss, masked_fraction=mgd.masked_share, robust=mgd.robust)
    return MapTerm(loss, adapters=adapters, generators=generators)


def _convolutions(context: TermContext) -> nn.ModuleList:
    return build_adapters(
        "conv3x3",
        term="mgd",
        student_channels=context.teacher_channels,
        teacher_channels=context.teacher_channels,
        generator=context.generator,
    )
