"""Settings of training: budget, optimizer, schedule, precision."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from distune.config.base import Settings


class SgdSettings(Settings):
    """Stochastic gradient descent."""

    kind: Literal["sgd"]
    learning_rate: float = Field(0.02, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(1e-4, ge=0)


class AdamWSettings(Settings):
    """AdamW."""

    kind: Literal["adamw"]
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(1e-2, ge=0)


class OneCycleSettings(Settings):
    """Rise to the learning rate, then fall to nearly zero along a cosine."""

    kind: Literal["one_cycle"]
    warmup_share: float = Field(0.15, gt=0, lt=1)
    """The share of all steps spent rising."""


class MultiStepSettings(Settings):
    """Linear warm-up, then the learning rate is multiplied by ``gamma`` at each milestone: detection's 1x and 2x."""

    kind: Literal["multi_step"]
    milestones: Annotated[list[float], Field(min_length=1)] = [0.6667, 0.9167]
    """Shares of the budget, each between 0 and 1. The default is 8 and 11 of 12 epochs."""
    gamma: float = Field(0.1, gt=0, lt=1)
    warmup_steps: int = Field(500, ge=0)


class ConstantSettings(Settings):
    """The learning rate never changes."""

    kind: Literal["constant"]


OptimizerSettings = Annotated[SgdSettings | AdamWSettings, Field(discriminator="kind")]
ScheduleSettings = Annotated[OneCycleSettings | MultiStepSettings | ConstantSettings, Field(discriminator="kind")]


class TrainingSettings(Settings):
    """How a detector is trained."""

    epochs: int = Field(12, ge=1)
    """The whole budget."""
    batch_size: int = Field(8, ge=1)
    optimizer: OptimizerSettings = AdamWSettings(kind="adamw")
    schedule: ScheduleSettings = OneCycleSettings(kind="one_cycle")
    gradient_clip_norm: float | None = Field(None, gt=0)
    """Gradients are scaled down to this norm; None leaves them."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """``auto`` is bfloat16 on GPUs that support it and float32 elsewhere."""
    seed: int = Field(0, ge=0)
    """Weights, order of the images and augmentation follow from it."""
