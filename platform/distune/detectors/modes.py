"""Evaluation mode for the length of a block."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn


@contextlib.contextmanager
def observing(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradient inside the block, the mode of before after it."""
    was_training = model.training
    if was_training:
        model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        if was_training:
            model.train()
