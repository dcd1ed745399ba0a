"""The study engine in the words of Ray Tune: a searcher, a scheduler and a stopper that ask it and tell it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import cloudpickle
from ray.exceptions import RayTaskError
from ray.tune import Stopper
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from distune.records import TrialSpec
from distune.study.engine import StudyEngine
from distune.study.listener import Decision, StudyListener
from distune.study.ray_handover import Handover
from distune.study.ray_trainable import RESULT, SIMULATE, SPEC
from distune.study.watchdog import Watchdog
from distune.study.work import StepResult


class EngineBridge:
    """What the three parts share: the engine, the wish to stop, and the error that has ended the session.

    Tune wraps errors of its parts until they cannot be recognised, so the first one is kept here and ends the session.

    Attributes:
        error: what went wrong in the engine, None as long as nothing has.
    """

    def __init__(self, engine: StudyEngine, *, should_stop: Callable[[], bool], listener: StudyListener) -> None:
        self.error: Exception | None = None
        self._engine, self._should_stop, self._listener = engine, should_stop, listener
        self._watchdog = Watchdog()

    def next_trial(self) -> TrialSpec | None:
        """The next trial, None when no more is to be started."""
        self._watchdog.heard()
        try:
            return None if self.is_over() else self._engine.next_trial()
        except Exception as error:
            self.error = self.error or error
            return None

    def goes_on(self, key: str, result: StepResult) -> bool:
        """Tell the engine what came of a step. Returns whether the trial goes on."""
        self._watchdog.heard()
        try:
            for report in result.reports:
                if self._engine.report(key, report) is Decision.STOP:
                    return False
            if result.failure is not None:
                self._engine.fail(key, result.failure)
            return result.failure is None
        except Exception as error:
            self.error = self.error or error
            return False

    def died(self, key: str, reason: str) -> None:
        """Tell the engine that the worker of a trial is gone."""
        self._watchdog.heard()
        self._told(lambda: self._engine.fail(key, reason))

    def is_over(self) -> bool:
        """Whether everything is to stop now. Asked several times a second.

        When it is, the engine is interrupted at once: winding Ray down takes seconds, and a job that was told to end
        may be killed before they are over.
        """
        message = self._watchdog.check(self._engine.in_flight)
        if message is not None:
            self._listener.message(message)
        is_over = self._should_stop() or self.error is not None or self._engine.failure is not None
        if is_over and self.error is None:
            self._told(self._engine.interrupt)
        return is_over

    def _told(self, tell: Callable[[], None]) -> None:
        try:
            tell()
        except Exception as error:
            self.error = self.error or error


class EngineSearcher(Searcher):
    """Gives Tune the engine's next trial."""

    def __init__(self, bridge: EngineBridge, *, simulate: bool) -> None:
        super().__init__()
        self._bridge, self._simulate = bridge, simulate

    def suggest(self, trial_id: str) -> dict[str, Any] | str:  # type: ignore[override]
        """The next trial; FINISHED when no more is to be started."""
        spec = self._bridge.next_trial()
        return Searcher.FINISHED if spec is None else {SPEC: Handover(spec), SIMULATE: self._simulate}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: the scheduler has told the engine."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing: Tune's own record of a study is not used."""


class EngineScheduler(FIFOScheduler):
    """Tells the engine of every result, and stops the trials that the engine says are over."""

    def __init__(self, bridge: EngineBridge) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._bridge = bridge

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """None: Tune starts pending trials in order by itself, and this would look through all trials each time."""
        return None

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Take a result."""
        goes_on = self._bridge.goes_on(_key(trial), result[RESULT])
        decision: str = TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP
        return decision

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """A worker has died, or has raised because it is spoilt."""
        self._bridge.died(_key(trial), describe_death(_error(trial)))
        trial.config[SPEC].release()

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """A trial is over."""
        trial.config[SPEC].release()


class EngineStopper(Stopper):
    """Stops everything when a signal asks for it, or the study has failed."""

    def __init__(self, bridge: EngineBridge) -> None:
        self._bridge: EngineBridge | None = bridge

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Never: the scheduler stops single trials."""
        return False

    def stop_all(self) -> bool:
        """Whether to stop everything."""
        return self._bridge is not None and self._bridge.is_over()

    def __getstate__(self) -> dict[str, Any]:
        """Nothing of the bridge, which holds a database: Tune pickles its stopper into a record that is not used."""
        return {"_bridge": None}


def describe_death(error: Exception | None) -> str:
    """Why a worker is gone, in a line."""
    if isinstance(error, RayTaskError):
        return " ".join(str(error.cause).split())
    words = " ".join(str(error).split()) if error is not None else "no reason given"
    cause = re.search(r"The actor is dead because (.*?)(?: Some common causes|$)", words)
    return f"worker died: {words if cause is None else cause[1]}"


def _error(trial: Trial) -> Exception | None:
    # Where Tune has just put it on this machine; its own getters look where it would have been copied to.
    file = trial.pickled_error_file
    if file is None or not Path(file).is_file():
        return None
    error: Exception = cloudpickle.loads(Path(file).read_bytes())
    return error


def _key(trial: Trial) -> str:
    key: str = trial.config[SPEC].key
    return key
