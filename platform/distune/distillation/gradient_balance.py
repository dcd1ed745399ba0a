"""Gradient balance: the length of a term's gradient relative to the task loss's, on the student's neck.

Published weights of distillation terms differ by orders of magnitude, because their normalizers do. The ratio of
gradients does not depend on a normalizer. Each measurement of a term needs a backward pass to the neck, so not every
step is measured: all at the start of a term, when ratios change fast and vary most, and fewer and fewer later. The
task's gradient is that of its own backward pass where it has one.

The gradient is that of a linear layer after the neck, one for each level, which is the identity: a layer that every
term and the task share, after GradNorm (Chen et al., ICML 2018, arXiv 1711.02257). The gradient on the maps themselves
is not comparable between terms. There every cell is a coordinate of its own, but in the weights the gradients of cells
add up: those of map imitation coherently, those of the task hardly.

What is averaged is the logarithm of the ratio of two lengths of the same step. The head of a new student sends hardly
any gradient back, so the first ratio may be a hundred thousand times the tenth. Averages of the two lengths apart would
remember different epochs as soon as a term starts later than the task.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from distune.collectives import mean_over_processes

_INTERVALS = (2, 4, 8, 16, 32, 64)
_STEPS_PER_INTERVAL = 64
_MOMENTUM = 0.5
_HALF_SCALE = 2.0**12


@dataclasses.dataclass(frozen=True)
class Measurement:
    """A term on a measured step.

    Attributes:
        ratio: length of the term's unweighted gradient divided by the task's, a scalar; 0 when either is 0, and NaN
            when either is not finite.
        cosine: between the two gradients, a scalar; 0 when either is 0.
        num_steps: steps of the term since its last measurement, this one included.
    """

    ratio: Tensor
    cosine: Tensor
    num_steps: int

    @property
    def is_finite(self) -> Tensor:
        """A boolean scalar: both gradients are finite."""
        return self.ratio.isfinite()

    @property
    def is_valid(self) -> Tensor:
        """A boolean scalar: both gradients have a length, and the ratio is finite."""
        return (self.ratio > 0) & self.ratio.isfinite()


@dataclasses.dataclass(frozen=True)
class RecordedGradients:
    """The gradients of the task loss on the student's maps, as a backward pass computes them.

    Attributes:
        by_map: one for each map, of its shape; None where the loss does not depend on the map.
        scale: the factor on the loss in that backward pass, a scalar.
    """

    by_map: list[Tensor | None]
    scale: Tensor


@contextlib.contextmanager
def recorded_gradients(maps: Sequence[Tensor], scale: Tensor) -> Iterator[RecordedGradients]:
    """Record the gradients on maps of the one backward pass that runs within the context.

    Args:
        maps: of the student's neck, (B, D, H, W) each.
        scale: the factor on the loss, a scalar.

    Yields:
        The gradients, filled in by the backward pass.
    """
    recorded = RecordedGradients([None] * len(maps), scale)
    hooks = [
        each.register_hook(functools.partial(recorded.by_map.__setitem__, index))  # type: ignore[no-untyped-call]
        for index, each in enumerate(maps)
        if each.requires_grad
    ]
    try:
        yield recorded
    finally:
        for hook in hooks:
            hook.remove()


class GradientBalance(nn.Module):
    """A moving mean of the logarithm of each term's ratio. It is in the state dict, so that a resumed trial is alike.

    With n measurements of a term, a new one counts ``max(1/n, 1 - momentum)``: the mean of all at first, and a moving
    mean later.

    Args:
        names: of the terms.
    """

    log_ratios: Tensor
    counts: Tensor

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self._names = tuple(names)
        self._is_first = True
        self._steps = dict.fromkeys(self._names, 0)
        self._measured_at = dict.fromkeys(self._names, -1)
        self.register_buffer("log_ratios", torch.zeros(len(self._names)))
        self.register_buffer("counts", torch.zeros(len(self._names)))
        self.register_load_state_dict_pre_hook(_read_former_state)  # type: ignore[no-untyped-call]

    @staticmethod
    def is_due(step: int) -> bool:
        """Return whether a term's step, counted from 0 at its start, is measured.

        Each until step 128, every second until 256, every fourth until 512, and so on; every 64th from 4096 on. A
        ratio changes as fast as the student, and varies from batch to batch by a factor of up to 5.
        """
        interval = max((each for each in _INTERVALS if step >= _STEPS_PER_INTERVAL * each), default=1)
        return step % interval == 0

    def begin_epoch(self) -> None:
        """Start an epoch. Its first step is measured as well, so that every epoch has a measurement."""
        self._is_first = True

    @property
    def is_any_due(self) -> bool:
        """True when the next step of some term is measured."""
        return self._is_first or any(map(self.is_due, self._steps.values()))

    def step(
        self, task: Tensor | RecordedGradients, terms: Mapping[str, Tensor], maps: Sequence[Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Measurement]]:
        """Measure the terms that are due in a step, and keep its graph.

        Args:
            task: the task loss, or its gradients on the maps if its backward pass has been run.
            terms: the unweighted losses of the step's active terms by name.
            maps: the student's neck on the common levels.

        Returns:
            For every term the factor that makes its gradient as long as the task's, by the measurements before this
            step: a measurement must not correct its own step. Only the first one of a term does. And the
            measurements of the terms that were due.
        """
        due = {name: loss for name, loss in terms.items() if self._is_first or self.is_due(self._steps[name])}
        self._is_first = False
        before = {name: self.factor(name) for name in terms}
        measurements = self._measure(task, due, maps) if due else {}
        factors = {
            name: torch.where(before[name] > 0, before[name], self.factor(name)) if name in due else before[name]
            for name in terms
        }
        for name in terms:
            self._steps[name] += 1
        return factors, measurements

    def factor(self, name: str) -> Tensor:
        """Return the factor that makes a term's gradient as long as the task's; 0 before the first measurement."""
        index = self._names.index(name)
        return torch.where(self.counts[index] > 0, torch.exp(-self.log_ratios[index]), 0.0)

    def get_extra_state(self) -> Tensor:
        """Return the steps of each term so far, and the last one that was measured: integers, shape (2, terms)."""
        return torch.tensor([list(self._steps.values()), list(self._measured_at.values())])

    def set_extra_state(self, state: Tensor) -> None:
        """Restore what ``get_extra_state`` returned."""
        steps, measured_at = state.tolist()
        self._steps = dict(zip(self._names, steps, strict=True))
        self._measured_at = dict(zip(self._names, measured_at, strict=True))

    def _measure(
        self, task: Tensor | RecordedGradients, terms: Mapping[str, Tensor], maps: Sequence[Tensor]
    ) -> dict[str, Measurement]:
        measurements: dict[str, Measurement] = {}
        if isinstance(task, RecordedGradients):
            task_gradient = mean_over_processes(recorded_neck_gradient(task, maps))
        else:
            task_gradient = mean_over_processes(neck_gradient(task, maps))
        for name, loss in terms.items():
            ratio, cosine = compare(mean_over_processes(neck_gradient(loss, maps)), task_gradient)
            now = self._steps[name]
            measurements[name] = Measurement(ratio, cosine, now - self._measured_at[name])
            self._measured_at[name] = now
            self._update(name, measurements[name])
        return measurements

    def _update(self, name: str, measurement: Measurement) -> None:
        """Update the mean after one more measurement; one that is not valid is skipped, on the device."""
        index, is_valid = self._names.index(name), measurement.is_valid
        count = self.counts[index] + 1
        fraction = (1 / count).clamp(min=1 - _MOMENTUM)
        log_ratio = torch.log(torch.where(is_valid, measurement.ratio, 1.0))
        updated = torch.lerp(self.log_ratios[index], log_ratio, fraction)
        self.log_ratios[index] = torch.where(is_valid, updated, self.log_ratios[index])
        self.counts[index] = torch.where(is_valid, count, self.counts[index])


def neck_gradient(loss: Tensor, maps: Sequence[Tensor]) -> Tensor:
    """Return the gradient of a loss on a linear layer after the neck as one float32 vector; a single 0 without any.

    Level l's map y becomes ``W y + v`` at every cell, with W the identity and v zero. The gradients are
    ``sum_c g_c y_c^T`` and ``sum_c g_c`` over the cells c of all images, with the gradient g of the loss on the map.
    With float16 maps the loss is scaled up first, since a gradient may underflow.

    Args:
        loss: a scalar.
        maps: of the neck, (B, D, H, W) each.

    Returns:
        All entries of the levels, D (D + 1) for each; zeros for a loss that does not depend on the maps.
    """
    scale = _HALF_SCALE if any(each.dtype == torch.float16 for each in maps) else 1.0
    trained = [each for each in maps if each.requires_grad]
    if not trained:
        return loss.new_zeros(1)
    if not loss.requires_grad:
        return loss.new_zeros(sum(each.shape[1] * (each.shape[1] + 1) for each in trained))
    gradients = torch.autograd.grad(loss * scale, trained, retain_graph=True, materialize_grads=True)
    return _of_linear_layers(gradients, trained) / scale


def recorded_neck_gradient(recorded: RecordedGradients, maps: Sequence[Tensor]) -> Tensor:
    """Return what ``neck_gradient`` returns for the task loss, from the gradients of its backward pass."""
    pairs = [(each, gradient) for each, gradient in zip(maps, recorded.by_map, strict=True) if each.requires_grad]
    if not pairs:
        return recorded.scale.new_zeros(1)
    gradients = [torch.zeros_like(each) if gradient is None else gradient for each, gradient in pairs]
    return _of_linear_layers(gradients, [each for each, _ in pairs]) / recorded.scale


def _of_linear_layers(gradients: Sequence[Tensor], maps: Sequence[Tensor]) -> Tensor:
    parts: list[Tensor] = []
    for each, gradient in zip(maps, gradients, strict=True):
        gradient_BDHW = gradient.float()
        parts.append(torch.einsum("bdhw,behw->de", gradient_BDHW, each.detach().float()).flatten())
        parts.append(gradient_BDHW.sum(dim=(0, 2, 3)))
    return torch.cat(parts)


def compare(term: Tensor, task: Tensor) -> tuple[Tensor, Tensor]:
    """Compare a term's gradient with the task's.

    Args:
        term: gradient of the unweighted term, a vector of ``neck_gradient``.
        task: gradient of the task loss, as long, or a single 0.

    Returns:
        The ratio of their lengths and their cosine, scalars; both are 0 when either gradient is 0. The ratio is NaN
        when either is not finite.
    """
    term_length, task_length = torch.linalg.vector_norm(term), torch.linalg.vector_norm(task)
    is_finite = (term_length + task_length).isfinite()
    has_both = (term_length > 0) & (task_length > 0)
    term_divisor, task_divisor = torch.where(has_both, term_length, 1.0), torch.where(has_both, task_length, 1.0)
    ratio = torch.where(is_finite, torch.where(has_both, term_length / task_divisor, 0.0), torch.nan)
    cosine = torch.where(has_both, ((term / term_divisor) * (task / task_divisor)).sum(), 0.0)
    return ratio, cosine


def _read_former_state(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Turn the state of an earlier version, moving means of the lengths, into ratios.

    They count as one measurement, which the next ones replace quickly: the two means may be of different epochs.
    """
    names = {name: f"{prefix}{name}" for name in ("task", "terms", "log_ratios", "counts", "_extra_state")}
    if names["task"] not in state or names["terms"] not in state:
        return
    ratios = state.pop(names["terms"]) / state.pop(names["task"])
    is_valid = (ratios > 0) & ratios.isfinite()
    state[names["log_ratios"]] = torch.log(torch.where(is_valid, ratios, 1.0))
    state[names["counts"]] = is_valid.to(ratios.dtype)
    assert isinstance(module, GradientBalance)
    state[names["_extra_state"]] = module.get_extra_state()
