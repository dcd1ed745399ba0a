"""Ray Tune's searcher, scheduler and stopper, which leave all decisions to the study engine, and their bridge to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ray.tune import Stopper
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from distune.records import TrialSpec
from distune.study.callback import Decision, StudyCallback
from distune.study.engine import StudyEngine
from distune.study.failures.retries import Company
from distune.study.resources import Resources, with_reserved_gpus
from distune.study.runners.ray_failures import error_bytes, failure_of
from distune.study.runners.ray_trainable import RESULT, SIMULATE, SPEC
from distune.study.runners.spec_ref import SpecRef
from distune.study.runners.trial_attempt import StepResult, deliver
from distune.study.runners.watchdog import Watchdog


class Placement(Protocol):
    """Decides where trials run: on devices of their own, or with the workers of cohorts."""

    def may_start(self) -> bool:
        """Return whether another trial may start now."""
        ...

    def config_of(self, spec: TrialSpec, company: Company) -> dict[str, Any]:
        """Return the part of Tune's configuration that says where a trial runs."""
        ...

    def release(self, key: str, *, has_failed: bool = False) -> None:
        """Note that a trial has ended, or has lost its worker."""
        ...

    def limit(self, key: str, number: int) -> None:
        """Note how many trials the worker of a trial has memory for."""
        ...

    def add_queued(self, trial: Trial) -> None:
        """Note a trial that waits for its resources."""
        ...

    def outdated(self) -> list[Trial]:
        """Return queued trials whose reservation is outdated."""
        ...

    def describe(self) -> str:
        """Return what the workers do, as far as it is known, for a user who sees no progress."""
        ...


class EngineBridge:
    """Shared by searcher, scheduler and stopper: the engine, the request to stop, and the error that ended the session.

    Tune wraps exceptions of its parts until they cannot be recognized. Therefore no method raises: the first exception
    is kept in ``error``, and ends the session.

    Args:
        engine: gives out the trials.
        trial: resources of one trial.
        placement: decides where trials run.
        should_stop: called several times a second.
        check_servers: called as often; raises when Ray has ended.
        callback: receives the messages of workers and of the watchdog.

    Attributes:
        error: first exception of the engine, None without one.
        placement: decides where trials run.
    """

    def __init__(
        self,
        engine: StudyEngine,
        *,
        trial: Resources,
        placement: Placement,
        should_stop: Callable[[], bool],
        check_servers: Callable[[], None],
        callback: StudyCallback,
    ) -> None:
        self.error: Exception | None = None
        self._check_servers = check_servers
        self._engine, self._should_stop, self._callback = engine, should_stop, callback
        self._trial = trial
        self.placement = placement
        self._watchdog = Watchdog()
        self._has_room = False

    def next_trial(self) -> TrialSpec | None:
        """Return the next trial, None when there is none to start now."""
        spec: TrialSpec | None = None
        try:
            self._has_room = self.placement.may_start()
            if self._has_room and not self.is_stopping():
                spec = self._engine.next_trial()
        except Exception as error:
            self.error = self.error or error
        if spec is not None:
            self._watchdog.reset()
        return spec

    def may_start_more(self) -> bool:
        """Return whether trials may have to be started later.

        A trial in flight may be retried; or there was no room for a trial that is left, as before any worker of a
        cohort has started. ``next_trial`` has asked for room: it may have become free since then.
        """
        if self.is_stopping():
            return False
        return bool(self._engine.in_flight) or (not self._has_room and self._engine.num_remaining > 0)

    def config_of(self, spec: TrialSpec) -> dict[str, Any]:
        """Return Tune's configuration of a trial."""
        place = self.placement.config_of(spec, self._engine.company_of(spec.key))
        spec = with_reserved_gpus(spec, self._trial)
        return {SPEC: SpecRef(spec, error_bytes=error_bytes(spec)), **place}

    def requeue(self, key: str) -> None:
        """Give a trial out again, because no worker could start it."""
        self.placement.release(key, has_failed=True)
        self._call(lambda: self._engine.requeue(key))

    def report(self, key: str, result: StepResult) -> Decision:
        """Pass the result of a step to the engine. Return whether the worker continues with the trial."""
        self._watchdog.reset()
        if result.most_in_company is not None:
            self.placement.limit(key, result.most_in_company)
        decision = Decision.STOP
        try:
            decision = deliver(result, key, self._engine, self._callback)
        except Exception as error:
            self.error = self.error or error
        if decision is Decision.STOP:
            self.placement.release(key, has_failed=result.failure is not None)
        return decision

    def fail(self, key: str, reason: str) -> None:
        """Tell the engine that a trial has lost its worker."""
        self._watchdog.reset()
        self.placement.release(key, has_failed=True)
        self._call(lambda: self._engine.fail(key, reason))

    def is_stopping(self) -> bool:
        """Return whether the session ends now. Called several times a second.

        The engine is interrupted at once: Ray takes seconds to shut down, and a job scheduler may kill the process
        before that.
        """
        warning = self._watchdog.check(self._engine.in_flight)
        if warning is not None:
            self._warn(warning)
        self._check_servers()
        is_stopping = self._should_stop() or self.error is not None or self._engine.has_failed
        if is_stopping and self.error is None:
            self._call(self._engine.interrupt)
        return is_stopping

    def _warn(self, warning: str) -> None:
        try:
            details = self.placement.describe()
        except Exception as error:
            details = f"workers cannot be asked: {error}"
        self._callback.on_message(f"{warning} ({details})" if details else warning)

    def _call(self, function: Callable[[], None]) -> None:
        try:
            function()
        except Exception as error:
            self.error = self.error or error


class EngineSearcher(Searcher):
    """Gives Tune the next trial of the engine."""

    def __init__(self, bridge: EngineBridge, *, simulate: bool) -> None:
        super().__init__()
        self._bridge, self._simulate = bridge, simulate

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """Return the next trial; None when Tune has to ask again later, FINISHED when no trial is left."""
        spec = self._bridge.next_trial()
        if spec is None:
            return None if self._bridge.may_start_more() else Searcher.FINISHED
        return {SIMULATE: self._simulate, **self._bridge.config_of(spec)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing: the scheduler has reported to the engine."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Do nothing: Tune's own record of a study is not used."""


class EngineScheduler(FIFOScheduler):
    """Reports every result to the engine, and stops the trials that the engine has ended."""

    def __init__(self, bridge: EngineBridge) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._bridge = bridge

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Note a trial that waits for its resources."""
        self._bridge.placement.add_queued(trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Return None: Tune itself starts pending trials in order, and a choice here would search all trials.

        Tune calls this before it starts trials, so outdated reservations are withdrawn here.
        """
        for trial in self._bridge.placement.outdated():
            tune_controller.stop_trial(trial)
        return None

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """Requeue a trial that was withdrawn before it had its resources."""
        self._bridge.requeue(_key(trial))
        trial.config[SPEC].release()

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Report a result."""
        decision = self._bridge.report(_key(trial), result[RESULT])
        action: str = TrialScheduler.CONTINUE if decision is Decision.CONTINUE else TrialScheduler.STOP
        return action

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Report a worker that died, or that raised because its process is corrupted."""
        spec_ref: SpecRef = trial.config[SPEC]
        self._bridge.fail(spec_ref.key, failure_of(trial, spec_ref))
        spec_ref.release()

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Free the specification of a trial that has ended."""
        trial.config[SPEC].release()


class EngineStopper(Stopper):
    """Stops the session on a signal, after an error, and when the study was aborted."""

    def __init__(self, bridge: EngineBridge) -> None:
        self._bridge: EngineBridge | None = bridge

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return False: the scheduler stops single trials."""
        return False

    def stop_all(self) -> bool:
        """Return whether to stop all trials."""
        return self._bridge is not None and self._bridge.is_stopping()

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the bridge, which holds a database: Tune pickles its stopper into a record that is not used."""
        return {"_bridge": None}


def _key(trial: Trial) -> str:
    key: str = trial.config[SPEC].key
    return key
