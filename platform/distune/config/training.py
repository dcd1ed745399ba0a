"""Settings of training: budget, optimizer, learning-rate schedule, precision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from distune.config.base import Settings


class SgdSettings(Settings):
    """Stochastic gradient descent (``torch.optim.SGD``)."""

    kind: Literal["sgd"] = "sgd"
    learning_rate: float = Field(0.02, gt=0)
    """The highest learning rate; the schedule scales it."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Momentum of the gradient; 0 is none."""
    weight_decay: float = Field(1e-4, ge=0)
    """L2 penalty, added to the gradient."""
    norm_weight_decay: float | None = Field(None, ge=0)
    """Weight decay of the weights and biases of normalization layers; null is ``weight_decay``. torchvision: null
    (``--norm-weight-decay``). detectron2: 0 (``SOLVER.WEIGHT_DECAY_NORM``)."""
    bias_weight_decay: float | None = Field(None, ge=0)
    """Weight decay of the biases of all other layers; null is ``weight_decay``, as in torchvision and detectron2."""
    backbone_learning_rate_factor: float = Field(1.0, gt=0)
    """Factor on the learning rate of the backbone, without the feature pyramid. torchvision and detectron2: 1."""


class AdamWSettings(Settings):
    """AdamW (``torch.optim.AdamW``)."""

    kind: Literal["adamw"] = "adamw"
    learning_rate: float = Field(1e-3, gt=0)
    """The highest learning rate; the schedule scales it."""
    weight_decay: float = Field(1e-2, ge=0)
    """Decoupled weight decay: each step shrinks the weights by the learning rate times this."""
    norm_weight_decay: float | None = Field(None, ge=0)
    """Weight decay of the weights and biases of normalization layers; null is ``weight_decay``. torchvision: null
    (``--norm-weight-decay``). detectron2: 0 (``SOLVER.WEIGHT_DECAY_NORM``)."""
    bias_weight_decay: float | None = Field(None, ge=0)
    """Weight decay of the biases of all other layers; null is ``weight_decay``, as in torchvision and detectron2."""
    backbone_learning_rate_factor: float = Field(1.0, gt=0)
    """Factor on the learning rate of the backbone, without the feature pyramid. torchvision and detectron2: 1."""


class EmaSettings(Settings):
    """Exponential moving average (EMA) of the weights, of ``AveragedModel`` in torch.

    With it, the averaged weights are evaluated, saved as the best ones, delivered and exported. Training itself
    continues with the weights of the optimizer, and the distillation compares these with the teacher. Running
    statistics of batch normalization are averaged as well.
    """

    decay: float = Field(0.0, ge=0, lt=1)
    """Weight of the former average in an update; 0 is no average. About the last ``1 / (1 - decay)`` updates count: use
    at most a tenth of the training steps, such as 0.99 for 1,000 steps and 0.999 for 10,000. The references of
    torchvision and detectron2 train detectors without; torchvision's classifiers use 0.99998 with 32 steps."""
    every_steps: int = Field(1, ge=1)
    """Optimizer steps from one update to the next. torchvision's classifiers: 32."""
    warmup_steps: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    """Optimizer steps in which each update copies the weights instead of averaging. ``auto``: as long as the learning
    rate rises, as in torchvision."""


class OneCycleSettings(Settings):
    """The learning rate rises to its maximum and then falls to nearly 0 along a cosine (``OneCycleLR`` of torch)."""

    kind: Literal["one_cycle"] = "one_cycle"
    warmup_share: float = Field(0.15, gt=0, lt=1)
    """Fraction of all training steps during which the learning rate rises, between 0 and 1."""


class MultiStepSettings(Settings):
    """Linear warm-up; then each milestone multiplies the learning rate by ``gamma``, as in the 1x and 2x schedules."""

    kind: Literal["multi_step"] = "multi_step"
    milestones: Annotated[list[float], Field(min_length=1)] = [0.6667, 0.9167]
    """Fractions of the training steps, each between 0 and 1. The default is epochs 8 and 11 of 12."""
    gamma: float = Field(0.1, gt=0, lt=1)
    """Factor of the learning rate at each milestone."""
    warmup_steps: int = Field(500, ge=0)
    """Optimizer steps during which the learning rate rises to its maximum. torchvision and detectron2: 1000."""


class ConstantSettings(Settings):
    """The learning rate stays the same."""

    kind: Literal["constant"] = "constant"


ADAMW_CLIP_NORM = 1.0
"""The norm of ``gradient_clip_norm: auto`` with AdamW. Of 5, 1, 0.3 and 0.1 it gave the control the highest AP on chess
pieces, and one point less than the highest on blood cells (docs/decisions/pretrained_pairs.md)."""

ClippedGradient = Literal["each", "task", "total"]
OptimizerSettings = Annotated[SgdSettings | AdamWSettings, Field(discriminator="kind")]
ScheduleSettings = Annotated[OneCycleSettings | MultiStepSettings | ConstantSettings, Field(discriminator="kind")]


class TrainingSettings(Settings):
    """Training of a detector."""

    epochs: int = Field(12, ge=1)
    """Number of epochs: passes over the training images."""
    batch_size: int = Field(8, ge=1)
    """Images per batch: of an optimizer step, unless batches are accumulated."""
    accumulate_batches: int = Field(1, ge=1)
    """Batches whose mean gradient makes an optimizer step. Schedules count optimizer steps, and gradients are clipped
    once per step. The last step of an epoch has the batches that are left, possibly fewer. Batch normalization still
    sees one batch at a time. torchvision and detectron2: 1."""
    optimizer: OptimizerSettings = AdamWSettings()
    """The optimizer and its learning rate."""
    schedule: ScheduleSettings = OneCycleSettings()
    """The learning rate during training."""
    ema: EmaSettings = EmaSettings()
    """The moving average of the weights; none by default."""
    gradient_clip_norm: Annotated[float, Field(gt=0)] | Literal["auto"] | None = "auto"
    """Gradients with a larger L2 norm are scaled down to this norm. null never scales them. ``auto`` is 1 with AdamW,
    whose mean of squares remembers the large gradients of the first steps for about 1,000 steps, and null with SGD."""
    gradient_clip_of: ClippedGradient = "each"
    """The gradient that ``gradient_clip_norm`` applies to. ``each``: that of the task loss and that of the distillation
    terms together, apart from each other, so that a distilled student trains on the task by the recipe of its control,
    and a step on which the distillation is too large does not rule the optimizer. ``task``: that of the task loss
    alone. Both need a second backward pass. ``total``: the joint gradient. Without distillation, all are the same."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Floating-point type of the forward passes (autocast). ``auto`` is bfloat16 on GPUs that support it, else float32.
    """
    seed: int = Field(0, ge=0)
    """Seed of the initial weights, the order of the images and the augmentation."""

    @property
    def clip_norm(self) -> float | None:
        """The norm that ``gradient_clip_norm`` stands for; None for no clipping."""
        if self.gradient_clip_norm != "auto":
            return self.gradient_clip_norm
        return ADAMW_CLIP_NORM if self.optimizer.kind == "adamw" else None


def clipping_rows(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return why a setting of clipping has no effect, as rows of the setting and a message.

    Only for files of users: trials of a study may vary ``gradient_clip_norm``.

    Args:
        values: plain data of an experiment, not validated.

    Returns:
        A row for each section in which ``gradient_clip_of`` has no effect.
    """
    reasons = {
        "training": "has no effect without clipping; remove it, or set training.gradient_clip_norm to a number",
        "teacher_training": "has no effect: a teacher is trained without distillation; remove it",
    }
    rows = []
    default = TrainingSettings.model_fields["gradient_clip_of"].default
    for section, reason in reasons.items():
        given = values.get(section)
        given = given if isinstance(given, Mapping) else {}
        clips = section == "training" and _clips(given)
        of = given.get("gradient_clip_of", default)
        if of != default and not clips:
            rows.append((f"{section}.gradient_clip_of = {of}", reason))
    return rows


def _clips(given: Mapping[str, Any]) -> bool:
    """Return whether the plain values of a section clip gradients."""
    norm = given.get("gradient_clip_norm", "auto")
    optimizer = given.get("optimizer")
    uses_sgd = isinstance(optimizer, Mapping) and optimizer.get("kind") == "sgd"
    return norm is not None and not (norm == "auto" and uses_sgd)
