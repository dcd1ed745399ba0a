"""Ray Tune's searcher, scheduler and stopper, which leave all decisions to the study engine."""

from __future__ import annotations

from typing import Any

from ray.tune import Stopper
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from distune.study.callback import Decision
from distune.study.runners.engine_bridge import EngineBridge
from distune.study.runners.ray_failures import error_bytes, failure_of
from distune.study.runners.ray_trainable import RESULT, SIMULATE, SPEC
from distune.study.runners.spec_ref import SpecRef


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
        spec_ref = SpecRef(spec, error_bytes=error_bytes(spec))
        return {SPEC: spec_ref, SIMULATE: self._simulate, **self._bridge.reservation_of(spec)}

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
        self._bridge.add_queued(trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Return None: Tune starts pending trials in order by itself, and a choice here would search all trials.

        Tune calls this before it starts trials, so outdated reservations are withdrawn here.
        """
        for trial in self._bridge.outdated_reservations():
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
