"""A term that compares the maps of both models level by level."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from distune.distillation.term import Step


class MapTerm(nn.Module):
    """The mean over levels of a loss of one level.

    Args:
        level_loss: called as ``level_loss(step, level, *networks)`` with the index of a level and that level's network
            of each list; returns a float32 scalar.
        **networks: lists of networks, one per level, such as ``adapters``. They train with the student. Their names
            are attributes of the term and part of the parameters' names in its state dict.
    """

    needs_prototypes = False

    def __init__(self, level_loss: Callable[..., Tensor], **networks: nn.ModuleList) -> None:
        super().__init__()
        self.level_loss = level_loss
        self._network_names = tuple(networks)
        for name, per_level in networks.items():
            self.add_module(name, per_level)

    def forward(self, step: Step) -> Tensor:
        """Return the loss of a step."""
        networks = zip(*(getattr(self, name) for name in self._network_names), strict=True)
        losses = [self.level_loss(step, level, *of_level) for level, of_level in enumerate(networks)]
        return torch.stack(losses).mean()
