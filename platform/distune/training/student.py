"""One student: everything about it that is its own, and one step of it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from distune.config.training import TrainingSettings
from distune.data.stream import Batch
from distune.detectors.taps import Detector, TeacherTaps
from distune.distillation.objective import Objective
from distune.distillation.prototypes.collect_features import FeaturePass
from distune.errors import TrialError
from distune.training.optimization import build_optimizer, build_schedule
from distune.training.precision import autocast, autocast_dtype
from distune.training.rng_state import OwnRandomness


class Student:
    """A detector in training with its own weights, adapters, optimizer, scaler, random numbers and prototypes.

    Nothing of it depends on who else is in its cohort. A teacher in training is a student without an objective.

    Args:
        key: names it within its cohort.
        detector: built on the CPU; it is moved to ``device``.
        objective: what it learns from the teacher; None trains plainly.
        settings: budget, optimizer, schedule, precision.
        seed: of its random numbers while training; its weights were drawn when the detector was built.
        steps_per_epoch: batches in an epoch of the stream.
        device: where it is trained.
    """

    def __init__(
        self,
        key: str,
        detector: Detector,
        *,
        objective: Objective | None,
        settings: TrainingSettings,
        seed: int,
        steps_per_epoch: int,
        device: torch.device,
    ) -> None:
        self.key = key
        self.detector = detector
        self.objective = objective
        self.epochs_done = 0
        self._settings = settings
        self._device = device
        self._dtype = autocast_dtype(settings.precision, device)
        detector.model.to(device)
        if objective is not None:
            objective.to(device)
        self._optimizer = build_optimizer(settings.optimizer, self._parameters())
        self._schedule = build_schedule(settings, self._optimizer, steps_per_epoch=steps_per_epoch)
        self._scaler = torch.amp.GradScaler(device.type, enabled=self._dtype == torch.float16)
        self._randomness = OwnRandomness(seed, device)
        self._sums: dict[str, Tensor] = {}
        self._num_steps = 0

    @property
    def needs_teacher(self) -> bool:
        """Whether the teacher's forward pass is of use to it in this epoch."""
        return self.objective is not None and self.objective.is_active_in(self.epochs_done + 1)

    def begin_epoch(self, feature_pass: FeaturePass) -> None:
        """Prepare for an epoch: training mode, prototypes where they come from a feature_pass."""
        self._sums, self._num_steps = {}, 0
        if self.objective is not None and self.needs_teacher:
            with self._randomness.active():
                self.objective.begin_epoch(self.epochs_done + 1, feature_pass)
        self.detector.model.train()

    def step(self, batch: Batch, teacher: TeacherTaps | None) -> None:
        """One step of the optimizer on a batch, on its device. ``teacher`` is None when it is of no use."""
        with self._randomness.active():
            with autocast(self._device, self._dtype):
                taps = self.detector.forward_train(batch.images, batch.targets)
                task = torch.stack([loss.float() for loss in taps.losses.values()]).sum()
                terms: dict[str, Tensor] = {}
                if self.objective is not None and teacher is not None:
                    terms = self.objective(taps, teacher)
            total = task
            for term in terms.values():
                total = total + term
            self._optimizer.zero_grad(set_to_none=True)
            self._scaler.scale(total).backward()  # type: ignore[no-untyped-call]
            if self._settings.gradient_clip_norm is not None:
                self._scaler.unscale_(self._optimizer)
                nn.utils.clip_grad_norm_(self._parameters(), self._settings.gradient_clip_norm)
            self._scaler.step(self._optimizer)
            self._scaler.update()
            self._schedule.step()
        parts = {f"task/{name}": loss for name, loss in taps.losses.items()}
        self._add({"loss/task": task, "loss/total": total, **parts})

    def end_epoch(self) -> dict[str, float]:
        """Close the epoch; its metrics, each the mean over its steps. The only copy to the host.

        Raises:
            TrialError: the loss was not finite.
        """
        if self._num_steps == 0:
            raise TrialError("an epoch held no batch: all its images were unreadable")
        values = (torch.stack(list(self._sums.values())) / self._num_steps).tolist()
        metrics = dict(zip(self._sums, values, strict=True))
        if self.objective is not None and self.needs_teacher:
            metrics.update(self.objective.end_epoch())
        self.epochs_done += 1
        metrics["optimizer/learning_rate"] = float(self._schedule.get_last_lr()[0])
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on as if nothing had happened: tensors and plain values only."""
        return {
            "model": self.detector.model.state_dict(),
            "objective": None if self.objective is None else self.objective.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": _plain(self._schedule.state_dict()),
            "scaler": self._scaler.state_dict(),
            "randomness": self._randomness.state_dict(),
            "epochs_done": self.epochs_done,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``. Raises ``KeyError`` or ``RuntimeError`` when it is of another student."""
        self.detector.model.load_state_dict(state["model"])
        if self.objective is not None:
            self.objective.load_state_dict(state["objective"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self._scaler.load_state_dict(state["scaler"])
        self._randomness.load_state_dict(state["randomness"])
        self.epochs_done = int(state["epochs_done"])

    def _parameters(self) -> Iterable[nn.Parameter]:
        yield from self.detector.model.parameters()
        if self.objective is not None:
            yield from self.objective.parameters()

    def _add(self, losses: dict[str, Tensor]) -> None:
        for name, loss in losses.items():
            value = loss.detach().float()
            self._sums[name] = value if name not in self._sums else self._sums[name] + value
        self._num_steps += 1


def is_finite(metrics: dict[str, float]) -> bool:
    """Whether training went well so far: a loss that is not finite never comes back."""
    return math.isfinite(metrics.get("loss/total", math.nan))


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    """Drops what torch keeps in a schedule's state that is neither a tensor nor a plain value."""
    return {
        name: value
        for name, value in state.items()
        if isinstance(value, bool | int | float | str | list | tuple) and name != "lr_lambdas"
    }
