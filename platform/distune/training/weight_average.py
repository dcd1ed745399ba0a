"""The moving average of a student's weights: what is evaluated and delivered when it is on."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from distune.config.training import EmaSettings


class WeightAverage:
    """An exponential moving average of a model's weights and buffers, updated after the steps of its optimizer.

    Buffers are averaged like weights, so that the running statistics of batch normalization belong to the averaged
    weights. Buffers of integers only count batches, which has no effect in evaluation.

    Args:
        model: on its device; it is copied.
        decay: weight of the former average in an update, above 0 and below 1.
        every_steps: optimizer steps from one update to the next. The first step is followed by one.
        warmup_steps: optimizer steps in which an update copies the weights.
    """

    def __init__(self, model: nn.Module, *, decay: float, every_steps: int, warmup_steps: int) -> None:
        ema = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        self._average = AveragedModel(model, multi_avg_fn=ema, use_buffers=True)
        self._average.requires_grad_(requires_grad=False)
        self._every_steps, self._warmup_steps = every_steps, warmup_steps
        self._num_steps = 0

    @property
    def model(self) -> nn.Module:
        """The model with the averaged weights; before the first step the initial ones."""
        model: nn.Module = self._average.module
        return model

    def update(self, model: nn.Module) -> None:
        """Take the weights of the model into the average, if an update is due after this step of its optimizer."""
        if self._num_steps % self._every_steps == 0:
            if self._num_steps < self._warmup_steps:
                self._average.n_averaged.zero_()  # makes torch copy the weights
            self._average.update_parameters(model)
        self._num_steps += 1

    def state_dict(self) -> dict[str, Any]:
        """Return everything needed to resume with the same results: tensors and plain values only.

        Returns:
            ``ema``: the state dict of torch's ``AveragedModel``, which whoever reads the file as weights finds under
            this name; ``ema_steps``: optimizer steps so far.
        """
        return {"ema": self._average.state_dict(), "ema_steps": self._num_steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a ``state_dict``, among other keys. Raises ``KeyError`` or ``RuntimeError`` if it does not fit."""
        self._average.load_state_dict(state["ema"])
        self._num_steps = int(state["ema_steps"])


def build_weight_average(settings: EmaSettings, model: nn.Module, *, warmup_steps: int) -> WeightAverage | None:
    """Build the average of a model's weights; None if the settings ask for none.

    Args:
        settings: decay and updates.
        model: on its device.
        warmup_steps: optimizer steps in which the learning rate rises, for ``warmup_steps: auto``.

    Returns:
        The average.
    """
    if settings.decay == 0:
        return None
    copied = warmup_steps if settings.warmup_steps == "auto" else settings.warmup_steps
    return WeightAverage(model, decay=settings.decay, every_steps=settings.every_steps, warmup_steps=copied)
