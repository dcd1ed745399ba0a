"""Plausible learning curves instead of training: to try a search plan, a cluster or a tracking server in seconds."""

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
"""Holds ``SimulationSettings`` as JSON. Read in simulated studies only, so no real training can come by them."""

_CONTROL_AP = 33.0
_WORST_AP, _BEST_AP = 26.0, 44.0
_NOISE_AP = 0.3
_FOR_EVER_S = 3600.0


class Mishap(Settings):
    """Something that goes wrong in a trial."""

    epoch: int = Field(ge=1)
    """The epoch that does not end well."""
    kind: Literal["error", "out_of_memory", "device_error", "nan", "kill", "hang"]
    """An exception, one for lack of memory, one that spoils the worker, a loss that is not a number, the end of the
    worker, or an epoch without an end."""
    once: bool = False
    """Only the first time that a worker comes to this epoch."""


class SimulationSettings(Settings):
    """How a simulated study runs."""

    epoch_s: float = Field(0.0, ge=0)
    """How long an epoch takes."""
    mishaps: dict[str, Mishap] = {}
    """Key of a trial to its mishap. ``*`` stands for every searched trial."""
    journal: str | None = None
    """A file that gets a line for each epoch computed: the trial, the epoch, and when it began and ended. It
    tells which epochs restarts compute twice, and which trials ran side by side."""

    @classmethod
    def from_environment(cls) -> SimulationSettings:
        """What the environment variable says; the defaults without it."""
        return cls.model_validate_json(os.environ.get(ENVIRONMENT_VARIABLE) or "{}")


class SimulatedWork:
    """A trial whose metrics are made up. They depend on its seed and values alone, epoch by epoch.

    Attributes:
        epochs_done: how many epochs are in the trial's folder.
        notes: none.
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
        """Sleep for the length of an epoch and make up its metrics. See ``TrialWork``."""
        started, began_at = time.perf_counter(), time.time()
        time.sleep(self._settings.epoch_s)
        epoch = self.epochs_done + 1
        if self._settings.journal is not None:
            with Path(self._settings.journal).open("a", encoding="utf-8") as file:
                file.write(f"{self._spec.key} {epoch} {began_at} {time.time()}\n")
        metrics = simulated_metrics(self._spec, epoch)
        metrics.setdefault(self._metric, metrics["search/AP"])
        metrics.update(simulated_costs(self._spec))
        self._suffer(epoch, metrics)
        metrics["time/epoch_s"] = time.perf_counter() - started
        report = EpochReport(epoch=epoch, metrics=metrics, finished_at=time.time())
        self._folder.append(report)
        self.epochs_done = epoch
        return report

    def close(self) -> None:
        """Nothing to give back."""

    def _suffer(self, epoch: int, metrics: dict[str, float]) -> None:
        mishaps = self._settings.mishaps
        mishap = mishaps.get(self._spec.key) or (None if self._spec.control else mishaps.get("*"))
        if mishap is None or mishap.epoch != epoch or not self._is_due(mishap):
            return
        if mishap.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif mishap.kind == "error":
            raise RuntimeError(f"simulated error in epoch {epoch}")
        elif mishap.kind == "out_of_memory":
            raise MemoryError(f"simulated in epoch {epoch}")
        elif mishap.kind == "device_error":
            raise RuntimeError(f"CUDA error: simulated in epoch {epoch}")
        elif mishap.kind == "hang":
            time.sleep(_FOR_EVER_S)
        else:
            metrics["loss/task"] = math.nan

    def _is_due(self, mishap: Mishap) -> bool:
        mark = self._folder.path / "mishap"
        if mishap.once and mark.exists():
            return False
        mark.touch()
        return True


def simulated_metrics(spec: TrialSpec, epoch: int) -> dict[str, float]:
    """The metrics of an epoch: a curve that saturates at what the trial's values are worth, and some noise."""
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
    """What the student costs, as far as the study asks for it: more for larger numbers among its settings."""
    scale = 1.0
    for path, value in spec.params.items():
        if path.startswith("student."):
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            scale *= 0.5 + (float(value or 0) / 64 if is_number else _share(path, value))
    costs = {"parameters": round(5e6 * scale), "flops": round(2e9 * scale), "latency_ms": 3.0 + 9.0 * scale}
    return {cost_metric(cost): float(costs[cost]) for cost in spec.experiment["search"].get("costs", [])}


def quality(params: Mapping[str, ParameterValue]) -> float:
    """What the values are worth, from 0 to 1: smooth in every number, with an optimum that follows from the names.

    Some paths matter much more than others, as in real spaces.
    """
    if not params:
        return 0.5
    weights = {path: 0.05 + _share(path, "weight") ** 3 for path in params}
    gained = sum(weights[path] * _worth(path, value) for path, value in params.items())
    return gained / sum(weights.values())


def _worth(path: str, value: ParameterValue) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _share(path, value)
    # Even steps for small numbers, even ratios for large ones, whatever the unit: one or two optima in a usual range.
    position = math.asinh(4.0 * value) / 4.0
    return 0.5 + 0.5 * math.cos(2.0 * math.pi * (position - _share(path, "optimum")))


def _share(*words: Any) -> float:
    """A number from 0 to 1 that follows from the words."""
    digest = hashlib.sha256(repr(words).encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32
