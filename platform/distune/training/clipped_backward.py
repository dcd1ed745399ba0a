"""The backward pass of a step, with clipping of the gradient.

Clipping scales a gradient down whose norm is too large. Distillation makes the joint gradient many times as long as the
task's, so clipping it would scale the task down in every distilled student and never in its control: an equal budget,
but an unequal recipe. So the gradient of the task loss is clipped apart, as in the control. That of the distillation is
added to it, clipped to the same norm (``each``) or not at all (``task``). That needs a second backward pass. Nothing
here waits for the device.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from distune.config.training import ClippedGradient
from distune.training.processes.average_gradients import average_gradients


class ClippedBackward:
    """Computes the gradients of a step, and leaves them in the parameters for the optimizer.

    Args:
        parameters: of the optimizer.
        optimizer: that takes the step afterwards, through ``scaler``.
        scaler: of the loss; its scale stays on the gradients, except of ``total``.
        max_norm: larger gradients are scaled down to this norm; None never scales them.
        of: the gradient that is clipped: the task's and the distillation's apart, the task's alone, or the joint one.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        optimizer: Optimizer,
        scaler: GradScaler,
        max_norm: float | None,
        of: ClippedGradient,
    ) -> None:
        self._parameters = [each for each in parameters if each.requires_grad]
        self._optimizer, self._scaler = optimizer, scaler
        self._max_norm, self._of = max_norm, of

    def __call__(self, task: Tensor, terms: Iterable[Tensor]) -> dict[str, Tensor]:
        """Compute the gradients of the task loss and the terms together.

        Args:
            task: the task loss.
            terms: the weighted losses of the distillation; none in a control.

        Returns:
            Scalars by name. ``norm``: of the gradient that is clipped, before clipping; of the joint gradient when
            nothing is clipped. ``clipped``: 1.0 if it was too large, else 0.0; only when something is clipped.
            ``distillation_norm``: of the gradient of the terms, before clipping; only when it is computed apart.
            ``distillation_clipped``: whether that was too large; only when it is clipped.
        """
        terms = list(terms)
        if self._max_norm is None:
            self._run(sum_of(task, terms))
            return {"norm": _norm(self._parameters) / self._scale(task)}
        if terms and self._of != "total":
            return self._apart(task, terms, self._max_norm)
        self._run(sum_of(task, terms))
        self._scaler.unscale_(self._optimizer)
        norm = nn.utils.clip_grad_norm_(self._parameters, self._max_norm)
        return {"norm": norm, "clipped": (norm > self._max_norm).float()}

    def _apart(self, task: Tensor, terms: list[Tensor], max_norm: float) -> dict[str, Tensor]:
        """Clip the gradient of the task loss, and add that of the terms, clipped or not."""
        scale = self._scale(task)
        self._run(task, retain_graph=True)
        norm = _norm(self._parameters) / scale
        nn.utils.clip_grads_with_norm_(self._parameters, max_norm, norm)
        of_task = [each.grad for each in self._parameters]
        for each in self._parameters:
            each.grad = None
        self._run(sum_of(terms[0], terms[1:]))
        distillation_norm = _norm(self._parameters) / scale
        measured = {"norm": norm, "clipped": (norm > max_norm).float(), "distillation_norm": distillation_norm}
        if self._of == "each":
            nn.utils.clip_grads_with_norm_(self._parameters, max_norm, distillation_norm)
            measured["distillation_clipped"] = (distillation_norm > max_norm).float()
        for each, gradient in zip(self._parameters, of_task, strict=True):
            if gradient is not None:
                each.grad = gradient if each.grad is None else each.grad.add_(gradient)
        return measured

    def _run(self, loss: Tensor, *, retain_graph: bool = False) -> None:
        """Compute the gradients of a loss; in several processes, of its mean over them."""
        self._scaler.scale(loss).backward(retain_graph=retain_graph)  # type: ignore[no-untyped-call]
        average_gradients(self._parameters)

    def _scale(self, like: Tensor) -> Tensor:
        """Return the factor on the loss as a tensor; the scaler's own number would wait for the device."""
        scale: Tensor = self._scaler.scale(torch.ones((), device=like.device))
        return scale


def sum_of(first: Tensor, others: Iterable[Tensor]) -> Tensor:
    """Return the sum of scalars, added one after the other."""
    total = first
    for each in others:
        total = total + each
    return total


def _norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    return nn.utils.get_total_norm([each.grad for each in parameters if each.grad is not None])
