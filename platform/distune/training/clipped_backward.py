"""The backward passes of a step, with clipping of the gradient.

Clipping scales a gradient down whose norm is too large. Distillation makes the joint gradient many times as long as the
task's, so clipping it would scale the task down in every distilled student and never in its control: an equal budget,
but an unequal recipe. So the gradient of the task loss is clipped apart, as in the control. That of the distillation is
added to it, clipped to the same norm (``each``) or not at all (``task``). That needs a second backward pass. Where a
step has several batches, their mean gradients are clipped, once. Nothing here waits for the device.
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
    """Computes the mean gradients of one or several batches, and leaves them in the parameters for the optimizer.

    Call ``add`` with each batch, or ``add_task`` and ``add_terms`` where the two are clipped apart, and ``finish``
    before the step of the optimizer. The gradients are in the parameters all the time, except those of the distillation
    that are clipped apart: they join the others in ``finish``.

    Args:
        parameters: of the optimizer.
        optimizer: that takes the step afterwards, through ``scaler``.
        scaler: of the loss. Its scale is removed from gradients that are clipped together, and stays on others.
        max_norm: larger gradients are scaled down to this norm; None never scales them.
        of: the gradient that is clipped: the task's and the distillation's apart, the task's alone, or the joint one.

    Attributes:
        num_batches: batches whose gradients have been added since the last ``finish``.
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
        self._of_terms: list[Tensor | None] | None = None
        self.num_batches = 0

    def reset(self) -> None:
        """Remove all gradients, before the first batch of a step."""
        self._optimizer.zero_grad(set_to_none=True)
        self._of_terms = None
        self.num_batches = 0

    @property
    def is_apart(self) -> bool:
        """True when task and distillation are clipped apart, so that each needs a backward pass of its own."""
        return self._max_norm is not None and self._of != "total"

    def add(self, losses: Iterable[Tensor]) -> None:
        """Add the gradients of a batch in one backward pass.

        Args:
            losses: the task loss and, unless they are clipped apart, the weighted losses of the distillation.
        """
        first, *others = losses
        self._scaler.scale(sum_of(first, others)).backward()  # type: ignore[no-untyped-call]
        self.num_batches += 1

    def add_task(self, task: Tensor) -> None:
        """Add the gradient of a batch's task loss, and keep its graph; the distillation's gradient follows."""
        self._scaler.scale(task).backward(retain_graph=True)  # type: ignore[no-untyped-call]
        self.num_batches += 1

    def add_terms(self, terms: Iterable[Tensor]) -> None:
        """Add the gradients of the weighted losses of the distillation after the batch's ``add_task``; may be none."""
        terms = list(terms)
        if not terms:
            return
        of_task = self._replace(self._of_terms)
        self._scaler.scale(sum_of(terms[0], terms[1:])).backward()  # type: ignore[no-untyped-call]
        self._of_terms = self._replace(of_task)

    def scale(self) -> Tensor:
        """Return the factor on all losses as a tensor; the scaler's own number would wait for the device."""
        scale: Tensor = self._scaler.scale(torch.ones((), device=self._parameters[0].device))
        return scale

    def finish(self) -> dict[str, Tensor]:
        """Average over processes and the batches that were added, clip, and join the parts of the gradient.

        Returns:
            Scalars by name. ``norm``: of the gradient that is clipped, before clipping; of the joint gradient when
            nothing is clipped. ``clipped``: 1.0 if it was too large, else 0.0; only when something is clipped.
            ``distillation_norm``: of the gradient of the terms, before clipping; only when it is computed apart.
            ``distillation_clipped``: whether that was too large; only when it is clipped.
        """
        of_terms, max_norm = self._of_terms, self._max_norm
        self._of_terms = None
        average_gradients(self._parameters)
        if of_terms is not None:
            of_task = self._replace(of_terms)
            average_gradients(self._parameters)
            of_terms = self._replace(of_task)
        self._average(each.grad for each in self._parameters)
        if of_terms is not None and max_norm is not None:
            self._average(of_terms)
            measured = self._clip_apart(of_terms, max_norm)
        elif max_norm is None:
            measured = {"norm": _norm(self._parameters) / self.scale()}
        else:
            self._scaler.unscale_(self._optimizer)
            norm = nn.utils.clip_grad_norm_(self._parameters, max_norm)
            measured = {"norm": norm, "clipped": (norm > max_norm).float()}
        self.num_batches = 0
        return measured

    def _average(self, gradients: Iterable[Tensor | None]) -> None:
        if self.num_batches > 1:
            for each in gradients:
                if each is not None:
                    each.div_(self.num_batches)

    def _clip_apart(self, of_terms: list[Tensor | None], max_norm: float) -> dict[str, Tensor]:
        """Clip the gradient of the task loss, and add that of the terms, clipped or not."""
        scale = self.scale()
        norm = _norm(self._parameters) / scale
        nn.utils.clip_grads_with_norm_(self._parameters, max_norm, norm)
        of_task = self._replace(of_terms)
        distillation_norm = _norm(self._parameters) / scale
        measured = {"norm": norm, "clipped": (norm > max_norm).float(), "distillation_norm": distillation_norm}
        if self._of == "each":
            nn.utils.clip_grads_with_norm_(self._parameters, max_norm, distillation_norm)
            measured["distillation_clipped"] = (distillation_norm > max_norm).float()
        for each, gradient in zip(self._parameters, of_task, strict=True):
            if gradient is not None:
                each.grad = gradient if each.grad is None else each.grad.add_(gradient)
        return measured

    def _replace(self, gradients: list[Tensor | None] | None) -> list[Tensor | None]:
        """Put other gradients into the parameters, or none, and return those that they had."""
        former = [each.grad for each in self._parameters]
        for each, gradient in zip(self._parameters, gradients or [None] * len(former), strict=True):
            each.grad = gradient
        return former


def sum_of(first: Tensor, others: Iterable[Tensor]) -> Tensor:
    """Return the sum of scalars, added one after the other."""
    total = first
    for each in others:
        total = total + each
    return total


def _norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    return nn.utils.get_total_norm([each.grad for each in parameters if each.grad is not None])
