"""Simulated training: simulated learning curves, to try a search, a cluster or a tracking server in seconds."""

from __future__ import annotations

import hashlib
import math
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from distune.config.base import Settings
from distune.config.hashing import content_hash
from distune.config.search import cost_metric
from distune.records import EpochReport, ParameterValue, TrialSpec
from distune.training.trial_folder import TrialFolder

ENVIRONMENT_VARIABLE = "DISTUNE_SIMULATION"
"""Environment variable of ``SimulationSettings`` as JSON. It is for tests, and read in simulated studies only."""

_CONTROL_AP = 33.0
_WORST_AP, _BEST_AP = 26.0, 44.0
_NOISE_AP = 0.3
_HANG_S = 3600.0


class InjectedFault(Settings):
    """A fault that a simulated trial injects."""

    epoch: int = Field(ge=1)
    """The epoch in which it happens."""
    kind: Literal["error", "out_of_memory", "device_error", "nan", "kill", "hang"]
    """An exception, out of memory, an error that corrupts the process, a NaN loss, the death of the worker, or an epoch
    that never ends."""
    once: bool = False
    """Only the first time that a worker reaches this epoch."""


class SimulationSettings(Settings):
    """Settings of a simulated study."""

    epoch_s: float = Field(0.0, ge=0)
    """Length of an epoch in seconds."""
    faults: dict[str, InjectedFault] = {}
    """Key of a trial to its fault. ``*`` is every searched trial."""
    epoch_log: str | None = None
    """A file that receives a line for each computed epoch: the trial, the epoch, and its start and end time. It shows
    which epochs were computed twice after a restart, and which trials ran at the same time."""

    @classmethod
    def from_environment(cls) -> SimulationSettings:
        """Return the settings of the environment variable, the defaults without it."""
        return cls.model_validate_json(os.environ.get(ENVIRONMENT_VARIABLE) or "{}")


class SimulatedTrial:
    """A trial with simulated metrics, which depend only on its seed, its parameters and the epoch. See ``TrialRun``.

    Args:
        spec: of the trial.
        settings: of the simulation; those of the environment variable when None.

    Attributes:
        epochs_done: number of epochs in the trial's folder.
        notes: always empty.
    """

    notes: tuple[str, ...] = ()

    def __init__(self, spec: TrialSpec, settings: SimulationSettings | None = None) -> None:
        self._spec = spec
        self._settings = SimulationSettings.from_environment() if settings is None else settings
        self._folder = TrialFolder.of(spec)
        self._metric = spec.metric
        reports = self._folder.reports()
        self.epochs_done = reports[-1].epoch if reports else 0

    def run_epoch(self) -> EpochReport:
        """Sleep for the length of an epoch and simulate its metrics."""
        started, began_at = time.perf_counter(), time.time()
        time.sleep(self._settings.epoch_s)
        epoch = self.epochs_done + 1
        if self._settings.epoch_log is not None:
            with Path(self._settings.epoch_log).open("a", encoding="utf-8") as file:
                file.write(f"{self._spec.key} {epoch} {began_at} {time.time()}\n")
        metrics = simulated_metrics(self._spec, epoch)
        metrics.setdefault(self._metric, metrics["search/AP"])
        metrics.update(simulated_costs(self._spec))
        self._inject_fault(epoch, metrics)
        metrics["time/epoch_s"] = time.perf_counter() - started
        report = EpochReport(epoch=epoch, metrics=metrics, finished_at=time.time())
        self._folder.append(report)
        self.epochs_done = epoch
        return report

    def close(self) -> None:
        """Do nothing."""

    def _inject_fault(self, epoch: int, metrics: dict[str, float]) -> None:
        faults = self._settings.faults
        fault = faults.get(self._spec.key) or (None if self._spec.control else faults.get("*"))
        if fault is None or fault.epoch != epoch or not self._is_due(fault):
            return
        if fault.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif fault.kind == "error":
            raise RuntimeError(f"simulated error in epoch {epoch}")
        elif fault.kind == "out_of_memory":
            raise MemoryError(f"simulated in epoch {epoch}")
        elif fault.kind == "device_error":
            raise RuntimeError(f"CUDA error: simulated in epoch {epoch}")
        elif fault.kind == "hang":
            time.sleep(_HANG_S)
        else:
            metrics["loss/task"] = math.nan

    def _is_due(self, fault: InjectedFault) -> bool:
        mark = self._folder.path / "fault"
        if fault.once and mark.exists():
            return False
        mark.touch()
        return True


def simulated_metrics(spec: TrialSpec, epoch: int) -> dict[str, float]:
    """Return the metrics of an epoch: a curve that saturates at the quality of the trial's parameters, with noise."""
    identity = content_hash([spec.seed, spec.params])
    random = np.random.default_rng([int(identity, 16), epoch])
    best = _CONTROL_AP if spec.control else _WORST_AP + (_BEST_AP - _WORST_AP) * quality(spec.params)
    risen = 1.0 - math.exp(-4.0 * epoch / spec.num_epochs)
    average_precision = min(100.0, max(0.0, best * risen + _NOISE_AP * float(random.standard_normal())))
    return {
        "search/AP": average_precision,
        "search/AP50": min(100.0, 1.6 * average_precision),
        "loss/task": 0.4 + 1.6 * (1.0 - risen) + 0.02 * float(random.standard_normal()),
    }


def simulated_costs(spec: TrialSpec) -> dict[str, float]:
    """Return the costs of the student that the study minimizes; they grow with the numbers among its settings."""
    scale = 1.0
    for path, value in spec.params.items():
        if path.startswith("student."):
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            scale *= 0.5 + (float(value or 0) / 64 if is_number else _hash_fraction(path, value))
    costs = {"parameters": round(5e6 * scale), "flops": round(2e9 * scale), "latency_ms": 3.0 + 9.0 * scale}
    return {cost_metric(cost): float(costs[cost]) for cost in spec.experiment["search"].get("costs", [])}


def quality(params: Mapping[str, ParameterValue]) -> float:
    """Return the quality of parameters, from 0 to 1. It is smooth in every number; the names determine the optimum.

    Some parameters matter much more than others, as in real search spaces.
    """
    if not params:
        return 0.5
    weights = {path: 0.05 + _hash_fraction(path, "weight") ** 3 for path in params}
    gained = sum(weights[path] * _worth(path, value) for path, value in params.items())
    return gained / sum(weights.values())


def _worth(path: str, value: ParameterValue) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _hash_fraction(path, value)
    # Linear for small numbers and logarithmic for large ones: one or two optima in a usual range of any unit.
    position = math.asinh(4.0 * value) / 4.0
    return 0.5 + 0.5 * math.cos(2.0 * math.pi * (position - _hash_fraction(path, "optimum")))


def _hash_fraction(*parts: Any) -> float:
    """Return a number from 0 to 1, a hash of the parts."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32
