"""Weights that carry over: how long a term's gradient is beside the task loss's, measured on the student's neck.

Published weights of distillation terms differ by orders of magnitude, because their normalisers do. The ratio of
gradients does not depend on a normaliser. It is measured on few steps, since each measurement needs a backward pass
through the heads, and smoothed over them by a geometric mean: a new head sends hardly any gradient back, so the
first ratio may be a hundred thousand times the tenth, and an arithmetic mean would remember that for epochs.
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
    """Moving geometric means of gradient lengths. They are in the state dict, so that a resumed trial goes on alike.

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
        """Whether a step of an epoch, counted from 0, is measured: three times at first, then every 64th."""
        return step % _EVERY_STEPS == 0 or step in _EARLY_STEPS

    def measure(self, task: Tensor, terms: Mapping[str, Tensor], maps: Sequence[Tensor]) -> dict[str, Tensor]:
        """Measures a step. Its graph is kept.

        Args:
            task: the task loss.
            terms: the unweighted losses of the terms that act in the step, by name.
            maps: the student's neck on the common levels.

        Returns:
            By name the length of the term's gradient over the task's, scalars.
        """
        task_length = gradient_length(task, maps)
        self.task.copy_(_mixed(self.task, task_length))
        shares: dict[str, Tensor] = {}
        for name, loss in terms.items():
            length = gradient_length(loss, maps)
            place = self._names.index(name)
            self.terms[place] = _mixed(self.terms[place], length)
            shares[name] = _ratio(length, task_length)
        return shares

    def factor(self, name: str) -> Tensor:
        """What a term is multiplied by so that its gradient becomes as long as the task's; 0 where it has none."""
        return _ratio(self.task, self.terms[self._names.index(name)])


def gradient_length(loss: Tensor, maps: Sequence[Tensor]) -> Tensor:
    """The Euclidean length of the gradient of a loss on maps, over all of them together; a float32 scalar.

    Losses are scaled up first where a map is float16, whose smallest numbers a gradient may fall below.
    """
    scale = _HALF_SCALE if any(each.dtype == torch.float16 for each in maps) else 1.0
    trained = [each for each in maps if each.requires_grad]
    if not trained or not loss.requires_grad:
        return loss.new_zeros(())
    gradients = torch.autograd.grad(loss * scale, trained, retain_graph=True, materialize_grads=True)
    return torch.stack([gradient.float().square().sum() for gradient in gradients]).sum().sqrt() / scale


def _mixed(average: Tensor, length: Tensor) -> Tensor:
    """The moving mean after one more length. It starts at the first, and takes in neither 0 nor what is not finite."""
    mixed = torch.where(average > 0, average**_MOMENTUM * length ** (1 - _MOMENTUM), length)
    return torch.where((length > 0) & length.isfinite(), mixed, average)


def _ratio(length: Tensor, other: Tensor) -> Tensor:
    return torch.where(other > 0, length / torch.where(other > 0, other, 1.0), 0.0)
