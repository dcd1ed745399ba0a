"""One student in training: a step, the state between epochs, and its construction from settings."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from distune.collectives import mean_over_processes
from distune.config.training import ClippedGradient, TrainingSettings
from distune.data.stream import Batch
from distune.detectors.taps import Detector, StudentTaps, TeacherTaps
from distune.distillation.epoch_means import EpochMeans
from distune.distillation.gradient_balance import RecordedGradients, recorded_gradients
from distune.distillation.objective import Objective
from distune.distillation.prototypes.collect_features import FeaturePass
from distune.errors import TrialError
from distune.training.clipped_backward import ClippedBackward, sum_of
from distune.training.memory_format import to_fast_format
from distune.training.optimization import (
    build_optimizer,
    build_schedule,
    load_optimizer_state,
    num_optimizer_steps,
    num_warmup_steps,
)
from distune.training.precision import autocast, autocast_dtype
from distune.training.processes.seeds import seed_processes
from distune.training.rng_state import RngState
from distune.training.weight_average import WeightAverage, build_weight_average


class Student:
    """A detector in training, with its own adapters, optimizer, gradient scaler, random state and prototypes.

    It does not depend on the other students of its cohort. A teacher in training is a student without an objective.

    Args:
        key: identifies the student within its cohort.
        detector: on ``device``.
        objective: of the distillation, on ``device``; None trains without.
        optimizer: over the parameters of detector and objective.
        schedule: of the learning rate, stepped after every step of the optimizer.
        autocast_dtype: precision of forward passes under autocast; None is float32.
        gradient_clip_norm: maximum norm of the gradient; None does not clip.
        gradient_clip_of: the gradient that is clipped: the two parts apart, the task's alone, or the total.
        accumulate_batches: batches of an optimizer step.
        average: of the detector's weights, which is evaluated instead of them; None for none.
        seed: of the random state in training. The initial weights were drawn when the detector was built.
        device: of the training.
    """

    def __init__(
        self,
        key: str,
        detector: Detector,
        *,
        objective: Objective | None,
        optimizer: Optimizer,
        schedule: LRScheduler,
        autocast_dtype: torch.dtype | None,
        gradient_clip_norm: float | None,
        gradient_clip_of: ClippedGradient = "each",
        accumulate_batches: int = 1,
        average: WeightAverage | None = None,
        seed: int,
        device: torch.device,
    ) -> None:
        self.key = key
        self.detector = detector
        self.objective = objective
        self.epochs_done = 0
        self._device = device
        self._dtype = autocast_dtype
        self._optimizer = optimizer
        self._schedule = schedule
        self._scaler = torch.amp.GradScaler(device.type, enabled=autocast_dtype == torch.float16)
        self._backward = ClippedBackward(
            trained_parameters(detector, objective),
            optimizer=optimizer,
            scaler=self._scaler,
            max_norm=gradient_clip_norm,
            of=gradient_clip_of,
        )
        self._accumulate_batches = accumulate_batches
        self._average = average
        self._rng, self._seed = RngState(seed, device), seed
        self._sums: dict[str, Tensor] = {}
        self._num_steps = 0
        self._gradient_means = EpochMeans()

    @property
    def needs_teacher(self) -> bool:
        """True when the coming or current epoch needs the teacher's forward pass."""
        return self.objective is not None and self.objective.is_active_in(self.epochs_done + 1)

    @property
    def evaluated_model(self) -> nn.Module:
        """The model that is evaluated and delivered: with averaged weights if there is an average."""
        return self.detector.model if self._average is None else self._average.model

    def begin_epoch(self, feature_pass: FeaturePass) -> None:
        """Prepare for an epoch: training mode, and new prototypes if a feature pass makes them."""
        self._sums, self._num_steps = {}, 0
        self._gradient_means.reset()
        self._backward.reset()
        seed_processes(self._rng, self._seed, epoch=self.epochs_done + 1)
        if self.objective is not None and self.needs_teacher:
            with self._rng.active():
                self.objective.begin_epoch(self.epochs_done + 1, feature_pass)
        self.detector.model.train()

    def step(self, batch: Batch, teacher: TeacherTaps | None) -> None:
        """Train on a batch, which is on the device. ``teacher`` is None if it is not needed.

        The optimizer takes a step after each ``accumulate_batches`` batches, and after the last ones of an epoch.
        """
        with self._rng.active():
            with autocast(self._device, self._dtype):
                taps = self.detector.forward_train(batch.images, batch.targets)
                task = taps.task_loss
            if self._backward.num_batches == 0:
                self._backward.reset()
            terms = self._add_gradients(task, taps, teacher)
        if self._backward.num_batches == self._accumulate_batches:
            self._update()
        parts = {f"task/{name}": loss for name, loss in taps.losses.items()}
        total = sum_of(task, terms.values())
        self._add({"loss/task": task, "loss/total": total, **parts})

    def end_epoch(self) -> dict[str, float]:
        """End the epoch. Only here are values copied to the host.

        Returns:
            The metrics of the epoch, means over its steps. Values may be NaN or infinite.

        Raises:
            TrialError: the epoch had no batch.
        """
        if self._num_steps == 0:
            raise TrialError("an epoch had no batch: none of its images could be read")
        if self._backward.num_batches > 0:
            self._update()
        values = mean_over_processes(torch.stack(list(self._sums.values())) / self._num_steps).tolist()
        metrics = dict(zip(self._sums, values, strict=True)) | self._gradient_means.compute()
        if self.objective is not None and self.needs_teacher:
            metrics.update(self.objective.end_epoch())
        self.epochs_done += 1
        metrics["optimizer/learning_rate"] = float(self._schedule.get_last_lr()[0])
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """Return everything needed to resume with the same results: tensors and plain values only."""
        return {
            "model": self.detector.model.state_dict(),
            "objective": None if self.objective is None else self.objective.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": _plain(self._schedule.state_dict()),
            "scaler": self._scaler.state_dict(),
            "randomness": self._rng.state_dict(),
            "epochs_done": self.epochs_done,
            **({} if self._average is None else self._average.state_dict()),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a ``state_dict``. Raises ``KeyError`` or ``RuntimeError`` if it does not fit."""
        self.detector.model.load_state_dict(state["model"])
        if self.objective is not None:
            self.objective.load_state_dict(state["objective"])
        load_optimizer_state(self._optimizer, state["optimizer"])
        functions = {"lr_lambdas": [None] * len(self._optimizer.param_groups)}  # which torch does not save
        is_function = isinstance(self._schedule, LambdaLR)
        self._schedule.load_state_dict({**state["schedule"], **(functions if is_function else {})})
        self._scaler.load_state_dict(state["scaler"])
        self._rng.load_state_dict(state["randomness"])
        if self._average is not None:
            self._average.load_state_dict(state)
        self.epochs_done = int(state["epochs_done"])

    def _update(self) -> None:
        """Take an optimizer step with the gradients of the batches since the last one."""
        measured = self._backward.finish()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._schedule.step()
        if self._average is not None:
            self._average.update(self.detector.model)
        for name, value in measured.items():
            is_finite = value.isfinite()  # not on a step that the scaler skips
            self._gradient_means.update(f"gradient/{name}", torch.where(is_finite, value, 0.0), is_finite)

    def _add_gradients(self, task: Tensor, taps: StudentTaps, teacher: TeacherTaps | None) -> dict[str, Tensor]:
        """Run the backward passes of a batch, and return the losses of the terms."""
        if self.objective is None or teacher is None:
            self._backward.add([task])
            return {}
        recorded: RecordedGradients | None = None
        if self._backward.is_apart:
            is_recorded = self.objective.measures_gradients
            maps = self.objective.neck_maps(taps) if is_recorded else []
            with recorded_gradients(maps, self._backward.scale()) as gradients:
                self._backward.add_task(task)
            recorded = gradients if is_recorded else None
        with autocast(self._device, self._dtype):
            terms: dict[str, Tensor] = self.objective(taps, teacher, recorded)
        if self._backward.is_apart:
            del recorded, gradients  # as large as the maps
            self._backward.add_terms(terms.values())
        else:
            self._backward.add([task, *terms.values()])
        return terms

    def _add(self, losses: dict[str, Tensor]) -> None:
        for name, loss in losses.items():
            value = loss.detach().float()
            self._sums[name] = value if name not in self._sums else self._sums[name] + value
        self._num_steps += 1


def build_student(
    key: str,
    detector: Detector,
    *,
    objective: Objective | None,
    settings: TrainingSettings,
    seed: int,
    steps_per_epoch: int,
    device: torch.device,
) -> Student:
    """Build a student from its settings.

    Args:
        key: identifies the student within its cohort.
        detector: built on the CPU; it is moved to ``device``.
        objective: of the distillation, moved likewise; None trains without.
        settings: budget, optimizer, schedule, average of the weights, precision and gradient clipping.
        seed: of the random state in training.
        steps_per_epoch: batches in an epoch of the stream.
        device: of the training.

    Returns:
        The student, before its first epoch.
    """
    to_fast_format(detector.model, device)
    if objective is not None:
        objective.to(device)
    optimizer = build_optimizer(settings.optimizer, [detector.model, *([] if objective is None else [objective])])
    num_steps = num_optimizer_steps(settings, batches_per_epoch=steps_per_epoch)
    average = build_weight_average(
        settings.ema, detector.model, warmup_steps=num_warmup_steps(settings, num_steps=num_steps)
    )
    return Student(
        key,
        detector,
        objective=objective,
        optimizer=optimizer,
        schedule=build_schedule(settings, optimizer, num_steps=num_steps),
        autocast_dtype=autocast_dtype(settings.precision, device),
        gradient_clip_norm=settings.clip_norm,
        gradient_clip_of=settings.gradient_clip_of,
        accumulate_batches=settings.accumulate_batches,
        average=average,
        seed=seed,
        device=device,
    )


def trained_parameters(detector: Detector, objective: Objective | None) -> Iterator[nn.Parameter]:
    """Yield the parameters of a detector, and those of its objective: the adapters."""
    yield from detector.model.parameters()
    if objective is not None:
        yield from objective.parameters()


def is_finite(metrics: dict[str, float]) -> bool:
    """Return whether the loss is finite. Training cannot recover from one that is not."""
    return math.isfinite(metrics.get("loss/total", math.nan))


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    """Keep only the plain values of a schedule's state."""
    return {
        name: value
        for name, value in state.items()
        if isinstance(value, bool | int | float | str | list | tuple) and name != "lr_lambdas"
    }
