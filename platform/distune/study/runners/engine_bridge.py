"""The connection between the study engine and the parts of Ray Tune that ask it: searcher, scheduler and stopper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ray.tune.experiment import Trial

from distune.records import TrialSpec
from distune.study.callback import Decision, StudyCallback
from distune.study.engine import StudyEngine
from distune.study.resources import alone_resources
from distune.study.runners.ray_trainable import EXCLUSIVE, RESOURCES
from distune.study.runners.step_result import StepResult, deliver
from distune.study.runners.watchdog import Watchdog


class EngineBridge:
    """Shared by searcher, scheduler and stopper: the engine, the request to stop, and the error that ended the session.

    Tune wraps exceptions of its parts until they cannot be recognized. Therefore no method raises: the first exception
    is kept in ``error``, and ends the session.

    Args:
        engine: gives out the trials.
        trial: CPUs and GPUs of one trial.
        machines: returns CPUs and GPUs of each machine of the cluster, which may change.
        should_stop: called several times a second.
        callback: receives the messages of workers and of the watchdog.

    Attributes:
        error: first exception of the engine, None without one.
    """

    def __init__(
        self,
        engine: StudyEngine,
        *,
        trial: tuple[float, float],
        machines: Callable[[], Sequence[tuple[float, float]]],
        should_stop: Callable[[], bool],
        callback: StudyCallback,
    ) -> None:
        self.error: Exception | None = None
        self._engine, self._should_stop, self._callback = engine, should_stop, callback
        self._trial, self._machines = trial, machines
        self._watchdog = Watchdog()
        self._exclusive: list[Trial] = []

    def next_trial(self) -> TrialSpec | None:
        """Return the next trial, None when there is none to start now.

        While a trial waits for a device of its own, no other one is started: it would take the place that becomes free.
        """
        self._exclusive = [trial for trial in self._exclusive if trial.status in (Trial.PENDING, Trial.RUNNING)]
        spec: TrialSpec | None = None
        try:
            if not any(map(self._blocks_others, self._exclusive)) and not self.is_stopping():
                spec = self._engine.next_trial()
        except Exception as error:
            self.error = self.error or error
        if spec is not None:
            self._watchdog.reset()
        return spec

    def may_start_more(self) -> bool:
        """Return whether trials may have to be started later, because a trial in flight may be retried."""
        return not self.is_stopping() and bool(self._engine.in_flight)

    def reservation_of(self, spec: TrialSpec) -> dict[str, Any]:
        """Return the part of Tune's configuration that says which resources a trial reserves."""
        is_exclusive = self._engine.needs_exclusive_device(spec.key)
        resources = alone_resources(self._trial, self._machines()) if is_exclusive else self._trial
        return {EXCLUSIVE: is_exclusive, RESOURCES: resources}

    def add_queued(self, trial: Trial) -> None:
        """Remember a trial that Tune has queued, if it needs a device of its own."""
        if trial.config[EXCLUSIVE]:
            self._exclusive.append(trial)

    def outdated_reservations(self) -> list[Trial]:
        """Return queued trials whose reservation is not that of a whole device any more, since the cluster changed."""
        queued = [trial for trial in self._exclusive if trial.status == Trial.PENDING]
        if not queued:
            return []
        machines = self._machines()
        fits_somewhere = any(cpus >= self._trial[0] for cpus, _ in machines)
        whole_device = alone_resources(self._trial, machines)
        return [trial for trial in queued if fits_somewhere and trial.config[RESOURCES] != whole_device]

    def requeue(self, key: str) -> None:
        """Give a trial out again, because no worker could start it."""
        self._call(lambda: self._engine.requeue(key))

    def report(self, key: str, result: StepResult) -> Decision:
        """Pass the result of a step to the engine. Return whether the worker continues with the trial."""
        self._watchdog.reset()
        try:
            return deliver(result, key, self._engine, self._callback)
        except Exception as error:
            self.error = self.error or error
            return Decision.STOP

    def fail(self, key: str, reason: str) -> None:
        """Tell the engine that a trial has lost its worker."""
        self._watchdog.reset()
        self._call(lambda: self._engine.fail(key, reason))

    def is_stopping(self) -> bool:
        """Return whether the session ends now. Called several times a second.

        The engine is interrupted at once: Ray takes seconds to shut down, and a job scheduler may kill the process
        before that.
        """
        warning = self._watchdog.check(self._engine.in_flight)
        if warning is not None:
            self._callback.on_message(warning)
        has_ended = self._engine.failure is not None or self._engine.blocking_error is not None
        is_stopping = self._should_stop() or self.error is not None or has_ended
        if is_stopping and self.error is None:
            self._call(self._engine.interrupt)
        return is_stopping

    def _blocks_others(self, trial: Trial) -> bool:
        """Return whether another trial could share the device of this one, which needs it for itself.

        A running trial has reserved its device, unless no machine was known when it was given out.
        """
        if trial.status == Trial.PENDING:
            return True
        reserved: tuple[float, float] = trial.config[RESOURCES]
        return reserved == self._trial != alone_resources(self._trial, self._machines())

    def _call(self, function: Callable[[], None]) -> None:
        try:
            function()
        except Exception as error:
            self.error = self.error or error
