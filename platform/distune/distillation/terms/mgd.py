"""The MGD term: from a student's map with holes, a small network must generate the teacher's whole map.

Shape legend: ``B`` batch, ``E`` teacher channels, ``H`` ``W`` a map.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distune.config.distillation import DistillationSettings
from distune.distillation.adapters import build_adapters
from distune.distillation.term import Step, TermContext


def hide_cells(map_BEHW: Tensor, drawn_BHW: Tensor, *, masked_share: float) -> Tensor:
    """The map with 0 in all channels of the cells whose number falls below the share.

    Args:
        map_BEHW: any map.
        drawn_BHW: a random number from 0 to 1 for each cell.
        masked_share: of the cells that are hidden, on average.

    Returns:
        (B, E, H, W).
    """
    return map_BEHW * (drawn_BHW >= masked_share)[:, None].to(map_BEHW.dtype)


def generation_loss(generated_BEHW: Tensor, teacher_BEHW: Tensor, weights_BHW: Tensor) -> Tensor:
    """The mean squared error of what was generated, over all cells, hidden or not, and channels of one level.

    ``1/(BHW) sum_c w_c mean_e (G(A(s) o M)_ec - t_ec)^2`` over the cells c, where M is 0 at random cells and 1
    elsewhere and G is a 3x3 convolution, ReLU, and another. Yang et al., "Masked Generative Distillation", ECCV 2022,
    arXiv 2205.01529, where errors are summed over cells and channels instead.

    Args:
        generated_BEHW: G's answer, with gradient.
        teacher_BEHW: the teacher's map; no gradient flows into it.
        weights_BHW: of each cell, at least 0; no gradient flows into them.

    Returns:
        A scalar.
    """
    error_BHW = (generated_BEHW - teacher_BEHW.detach()).square().mean(dim=1)
    return (weights_BHW.detach() * error_BHW).mean()


class Mgd(nn.Module):
    """The term: the mean over levels.

    It is not 0 when the student equals the teacher: the hidden cells, and a generator that has yet to learn, remain.

    The holes are drawn anew in each step as dropout's are, from torch's default generator of the device. Whoever trains
    a student keeps that generator's state with it, so that a resumed trial draws the same.

    Args:
        adapters: one per level.
        generators: one per level, G of ``generation_loss``.
        masked_share: of the cells that are hidden. The paper takes 0.65 for one-stage and 0.5 for two-stage detectors.
        robust: whether cells inside boxes count by the filter's weights.
    """

    needs_prototypes = False

    def __init__(
        self, adapters: nn.ModuleList, generators: nn.ModuleList, *, masked_share: float, robust: bool = True
    ) -> None:
        super().__init__()
        self.adapters = adapters
        self.generators = generators
        self.masked_share = masked_share
        self.robust = robust

    def forward(self, step: Step) -> Tensor:
        """The loss of a step."""
        losses: list[Tensor] = []
        for level, (adapter, generate) in enumerate(zip(self.adapters, self.generators, strict=True)):
            student_BDHW, teacher_BEHW = step.imitated(level)
            weights_BHW = step.cell_weights(level, robust=self.robust)
            drawn_BHW = torch.rand(weights_BHW.shape, device=weights_BHW.device)
            visible_BEHW = hide_cells(adapter(student_BDHW), drawn_BHW, masked_share=self.masked_share)
            losses.append(generation_loss(generate(visible_BEHW), teacher_BEHW, weights_BHW))
        return torch.stack(losses).mean()


def build_mgd(settings: DistillationSettings, context: TermContext) -> Mgd:
    """The term that the settings describe. Raises ``ConfigError`` when its adapter does not fit."""
    own = settings.mgd
    adapters = context.adapters(own.adapter, term="mgd")
    first, last = (_convolutions(context) for _ in range(2))
    generators = nn.ModuleList(
        nn.Sequential(*pair) for pair in zip(first, [nn.ReLU() for _ in first], last, strict=True)
    )
    return Mgd(adapters, generators, masked_share=own.masked_share, robust=own.robust)


def _convolutions(context: TermContext) -> nn.ModuleList:
    return build_adapters(
        "conv3x3",
        term="mgd",
        student_channels=context.teacher_channels,
        teacher_channels=context.teacher_channels,
        generator=context.generator,
    )
