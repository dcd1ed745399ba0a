"""Optimizers and learning-rate schedules from settings."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from distune.config.training import (
    ConstantSettings,
    MultiStepSettings,
    OneCycleSettings,
    OptimizerSettings,
    SgdSettings,
    TrainingSettings,
)
from distune.detectors.parameter_kinds import KnownParameter, known_parameters


def build_optimizer(settings: OptimizerSettings, modules: Iterable[nn.Module]) -> Optimizer:
    """Build the optimizer over all trainable parameters of a detector and its objective."""
    groups = parameter_groups(settings, modules)
    if isinstance(settings, SgdSettings):
        # Not fused: torch's fused SGD fails for a parameter whose first gradient comes after those of others, and
        # after a step that a gradient scaler skips it takes momentum from memory that was never written.
        return SGD(groups, lr=settings.learning_rate, momentum=settings.momentum, weight_decay=settings.weight_decay)
    return AdamW(groups, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)


def load_optimizer_state(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Restore the state of an optimizer, also one of another memory format, such as that of another kind of device.

    torch keeps the strides of the saved moments. Its fused kernels require those of the parameters: on a GPU they
    refuse others, and on a CPU they pair each weight with the moment of another one.
    """
    optimizer.load_state_dict(state)
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def parameter_groups(settings: OptimizerSettings, modules: Iterable[nn.Module]) -> list[dict[str, Any]]:
    """Return torch's parameter groups: the trainable parameters that share learning rate and weight decay.

    Args:
        settings: of the optimizer.
        modules: the detector, and the objective if there is one.

    Returns:
        The groups, in the order of their first parameters, those with the full learning rate first. A single one with
        the default settings.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for module in modules:
        for each in known_parameters(module):
            if each.parameter.requires_grad:
                factor = settings.backbone_learning_rate_factor if each.of_backbone else 1.0
                groups.setdefault((factor, _weight_decay(settings, each)), []).append(each.parameter)
    return [
        {"params": parameters, "lr": settings.learning_rate * factor, "weight_decay": weight_decay}
        for (factor, weight_decay), parameters in sorted(groups.items(), key=lambda group: group[0][0] != 1.0)
    ]


def _weight_decay(settings: OptimizerSettings, each: KnownParameter) -> float:
    own = settings.norm_weight_decay if each.of_norm else settings.bias_weight_decay if each.is_bias else None
    return settings.weight_decay if own is None else own


def num_optimizer_steps(settings: TrainingSettings, *, batches_per_epoch: int) -> int:
    """Return the number of optimizer steps of the whole budget."""
    return settings.epochs * math.ceil(batches_per_epoch / settings.accumulate_batches)


def build_schedule(settings: TrainingSettings, optimizer: Optimizer, *, num_steps: int) -> LRScheduler:
    """Build the learning-rate schedule over the whole budget. It is stepped after every optimizer step."""
    schedule = settings.schedule
    match schedule:
        case OneCycleSettings():
            return OneCycleLR(
                optimizer,
                max_lr=[group["lr"] for group in optimizer.param_groups],
                # torch needs at least one warm-up step, which a budget of one or two steps does not have.
                total_steps=max(num_steps, 2) + 1,
                pct_start=schedule.warmup_share,
                cycle_momentum=False,
            )
        case MultiStepSettings():
            return LambdaLR(optimizer, lambda step: multi_step_factor(step, num_steps=num_steps, settings=schedule))
        case ConstantSettings():
            return LambdaLR(optimizer, lambda step: 1.0)


def num_warmup_steps(settings: TrainingSettings, *, num_steps: int) -> int:
    """Return the number of optimizer steps, of ``num_steps`` in all, in which the learning rate rises."""
    schedule = settings.schedule
    match schedule:
        case OneCycleSettings():
            return round(schedule.warmup_share * num_steps)
        case MultiStepSettings():
            return schedule.warmup_steps
        case ConstantSettings():
            return 0


def multi_step_factor(step: int, *, num_steps: int, settings: MultiStepSettings) -> float:
    """Return the factor on the learning rate: linear warm-up times ``gamma`` for each milestone passed."""
    warmup = min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else 1.0
    passed = sum(step >= milestone * num_steps for milestone in settings.milestones)
    return float(warmup * settings.gamma**passed)
