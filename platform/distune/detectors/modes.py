"""Evaluation mode inside a block."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn


@contextlib.contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Set evaluation mode inside the block, and restore the mode of every module afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextlib.contextmanager
def eval_without_grad(model: nn.Module) -> Iterator[None]:
    """Set evaluation mode without gradient inside the block. A model in evaluation mode costs nothing to enter."""
    with torch.no_grad(), eval_mode(model) if model.training else contextlib.nullcontext():
        yield
