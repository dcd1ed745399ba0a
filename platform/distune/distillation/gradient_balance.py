"""Gradient balance: the length of a term's gradient relative to the task loss's, on the student's neck.

Published weights of distillation terms differ by orders of magnitude, because their normalizers do. The ratio of
gradients does not depend on a normalizer. It is measured on few steps, since each measurement needs a backward pass
through the heads, and smoothed by a geometric mean: a new head sends hardly any gradient back, so the
first ratio may be a hundred thousand times the tenth, and would dominate an arithmetic mean for epochs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

_EVERY_STEPS = 64
_EARLY_STEPS = (4, 16)
_MOMENTUM = 0.8
_HALF_SCALE = 2.0**12


class GradientBalance(nn.Module):
    """Moving geometric means of gradient lengths. They are in the state dict, so that a resumed trial continues alike.

    Args:
        names: of the terms.
    """

    task: Tensor
    terms: Tensor

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self._names = tuple(names)
        self.register_buffer("task", torch.zeros(()))
        self.register_buffer("terms", torch.zeros(len(self._names)))

    @staticmethod
    def is_due(step: int) -> bool:
        """Return whether a step of an epoch, counted from 0, is measured: every 64th, and steps 4 and 16."""
        return step % _EVERY_STEPS == 0 or step in _EARLY_STEPS

    def measure(self, task: Tensor, terms: Mapping[str, Tensor], maps: Sequence[Tensor]) -> dict[str, Tensor]:
        """Measure a step. Its graph is kept.

        Args:
            task: the task loss.
            terms: the unweighted losses of the step's active terms by name.
            maps: the student's neck on the common levels.

        Returns:
            The length of each term's gradient divided by the task's, scalars by name.
        """
        task_length = gradient_length(task, maps)
        self.task.copy_(_moving_mean(self.task, task_length))
        ratios: dict[str, Tensor] = {}
        for name, loss in terms.items():
            length = gradient_length(loss, maps)
            index = self._names.index(name)
            self.terms[index] = _moving_mean(self.terms[index], length)
            ratios[name] = _ratio(length, task_length)
        return ratios

    def factor(self, name: str) -> Tensor:
        """Return the factor that makes a term's gradient as long as the task's; 0 when it has no gradient."""
        return _ratio(self.task, self.terms[self._names.index(name)])


def gradient_length(loss: Tensor, maps: Sequence[Tensor]) -> Tensor:
    """Return the Euclidean length of the gradient of a loss on all maps together, a float32 scalar.

    With float16 maps the loss is scaled up first, since a gradient may underflow.
    """
    scale = _HALF_SCALE if any(each.dtype == torch.float16 for each in maps) else 1.0
    trained = [each for each in maps if each.requires_grad]
    if not trained or not loss.requires_grad:
        return loss.new_zeros(())
    gradients = torch.autograd.grad(loss * scale, trained, retain_graph=True, materialize_grads=True)
    return torch.stack([gradient.float().square().sum() for gradient in gradients]).sum().sqrt() / scale


def _moving_mean(average: Tensor, length: Tensor) -> Tensor:
    """Return the moving mean after one more length; it starts at the first and skips 0 and non-finite lengths."""
    updated = torch.where(average > 0, average**_MOMENTUM * length ** (1 - _MOMENTUM), length)
    return torch.where((length > 0) & length.isfinite(), updated, average)


def _ratio(length: Tensor, other: Tensor) -> Tensor:
    return torch.where(other > 0, length / torch.where(other > 0, other, 1.0), 0.0)
