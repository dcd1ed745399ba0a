"""Optimizers and learning-rate schedules from settings."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
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


def build_optimizer(settings: OptimizerSettings, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """Build the optimizer over all trainable parameters."""
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    if isinstance(settings, SgdSettings):
        return SGD(
            trainable,
            lr=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            fused=True,
        )
    return AdamW(trainable, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)


def build_schedule(settings: TrainingSettings, optimizer: Optimizer, *, steps_per_epoch: int) -> LRScheduler:
    """Build the learning-rate schedule over the whole budget. It is stepped after every optimizer step."""
    num_steps = settings.epochs * steps_per_epoch
    schedule = settings.schedule
    match schedule:
        case OneCycleSettings():
            return OneCycleLR(
                optimizer,
                max_lr=settings.optimizer.learning_rate,
                # torch needs at least one warm-up step, which a budget of one or two steps does not have.
                total_steps=max(num_steps, 2) + 1,
                pct_start=schedule.warmup_share,
                cycle_momentum=False,
            )
        case MultiStepSettings():
            return LambdaLR(optimizer, lambda step: multi_step_factor(step, num_steps=num_steps, settings=schedule))
        case ConstantSettings():
            return LambdaLR(optimizer, lambda step: 1.0)


def multi_step_factor(step: int, *, num_steps: int, settings: MultiStepSettings) -> float:
    """Return the factor on the learning rate: linear warm-up times ``gamma`` for each milestone passed."""
    warmup = min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else 1.0
    passed = sum(step >= milestone * num_steps for milestone in settings.milestones)
    return float(warmup * settings.gamma**passed)
