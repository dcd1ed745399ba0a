"""The study engine in the words of Ray Tune: a searcher, a scheduler and a stopper that ask it and tell it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ray.tune import Stopper
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from distune.records import TrialSpec
from distune.study.callback import Decision, StudyCallback
from distune.study.engine import StudyEngine
from distune.study.failures.reasons import OUT_OF_MEMORY, WORKER_DIED, is_of_kind
from distune.study.files.artifacts import ERROR_FILE
from distune.study.resources import Resources, exclusive_resources
from distune.study.runners.epoch_timeout import describe_timeout, has_timed_out
from distune.study.runners.ray_trainable import ALONE, RESOURCES, RESULT, SIMULATE, SPEC
from distune.study.runners.spec_ref import SpecRef
from distune.study.runners.trial_attempt import StepResult
from distune.study.runners.watchdog import Watchdog
from distune.tracking.uris import redact_uri

_MAX_REASON = 500
"""A reason is a tag in MLflow and a cell of a table. All that Ray has to say is in the file of the trial's errors."""


class EngineBridge:
    """What the three parts share: the engine, the wish to stop, and the error that has ended the session.

    Tune wraps errors of its parts until they cannot be recognised, so the first one is kept here and ends the session.

    Args:
        engine: gives out trials and decides about them.
        trial: resources of one trial.
        machines: returns the resources of each machine of the cluster, which come and go.
        should_stop: asked several times a second.
        callback: hears when nothing has happened for long.

    Attributes:
        error: what went wrong in the engine, None as long as nothing has.
    """

    def __init__(
        self,
        engine: StudyEngine,
        *,
        trial: Resources,
        machines: Callable[[], Sequence[Resources]],
        should_stop: Callable[[], bool],
        callback: StudyCallback,
    ) -> None:
        self.error: Exception | None = None
        self._engine, self._should_stop, self._callback = engine, should_stop, callback
        self._trial, self._machines = trial, machines
        self._watchdog = Watchdog()
        self._alone: list[Trial] = []

    def next_trial(self) -> TrialSpec | None:
        """The next trial, None when there is none to start now.

        As long as a trial that must be alone waits for its device, no other one is started: it would take the place
        that is becoming free.
        """
        self._alone = [trial for trial in self._alone if trial.status in (Trial.PENDING, Trial.RUNNING)]
        try:
            is_kept_free = any(map(self._keeps_others_away, self._alone))
            spec = None if is_kept_free or self.is_over() else self._engine.next_trial()
        except Exception as error:
            self.error = self.error or error
            return None
        if spec is not None:
            self._watchdog.heard()
        return spec

    def may_come_more(self) -> bool:
        """Whether there may be a trial to start later: one that is worked on may have to be tried again."""
        return not self.is_over() and bool(self._engine.in_flight)

    def config_of(self, spec: TrialSpec) -> dict[str, Any]:
        """Whether a trial must be alone on its device, and what it reserves."""
        is_alone = self._engine.is_alone(spec.key)
        return {
            ALONE: is_alone,
            RESOURCES: exclusive_resources(self._trial, self._machines()) if is_alone else self._trial,
        }

    def queued(self, trial: Trial) -> None:
        """Tune has taken a trial, and waits for a place for it."""
        if trial.config[ALONE]:
            self._alone.append(trial)

    def outdated(self) -> list[Trial]:
        """Trials that wait for a place in which they would not be alone, or which is gone, and there is another."""
        waiting = [trial for trial in self._alone if trial.status == Trial.PENDING]
        if not waiting:
            return []
        machines = self._machines()
        has_place = any(machine.cpus >= self._trial.cpus for machine in machines)
        alone = exclusive_resources(self._trial, machines)
        return [trial for trial in waiting if has_place and trial.config[RESOURCES] != alone]

    def put_back(self, key: str) -> None:
        """Tell the engine that a trial was not begun."""
        self._told(lambda: self._engine.put_back(key))

    def _keeps_others_away(self, trial: Trial) -> bool:
        """Whether a trial that must be alone would not be if another one were started.

        One that runs has reserved its device, unless no machine was known when it was given out.
        """
        if trial.status == Trial.PENDING:
            return True
        reserved: Resources = trial.config[RESOURCES]
        return reserved == self._trial != exclusive_resources(self._trial, self._machines())

    def should_continue(self, key: str, result: StepResult) -> bool:
        """Tell the engine what came of a step. Returns whether the trial goes on."""
        self._watchdog.heard()
        try:
            for note in result.notes:
                self._callback.message(f"trial {key}: {note}")
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
            self._callback.message(message)
        engine = self._engine
        has_ended = engine.failure is not None or engine.blocking_error is not None
        is_over = self._should_stop() or self.error is not None or has_ended
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

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """The next trial; None when Tune is to ask again later, FINISHED when no more is to be started."""
        spec = self._bridge.next_trial()
        if spec is None:
            return None if self._bridge.may_come_more() else Searcher.FINISHED
        spec_ref = SpecRef(spec, error_bytes=_size(_error_file(spec)))
        return {SPEC: spec_ref, SIMULATE: self._simulate, **self._bridge.config_of(spec)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: the scheduler has told the engine."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing: Tune's own record of a study is not used."""


class EngineScheduler(FIFOScheduler):
    """Tells the engine of every result, and stops the trials that the engine says are over."""

    def __init__(self, bridge: EngineBridge) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._bridge = bridge

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """A trial waits for its place."""
        self._bridge.queued(trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """None: Tune starts pending trials in order by itself, and this would look through all trials each time.

        It is asked before that, which is the time to take back what waits for the wrong place.
        """
        for trial in self._bridge.outdated():
            tune_controller.stop_trial(trial)
        return None

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """A trial was taken back before it had a place."""
        self._bridge.put_back(_key(trial))
        trial.config[SPEC].release()

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Take a result."""
        should_continue = self._bridge.should_continue(_key(trial), result[RESULT])
        decision: str = TrialScheduler.CONTINUE if should_continue else TrialScheduler.STOP
        return decision

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """A worker has died, or has raised because it is spoilt."""
        spec_ref: SpecRef = trial.config[SPEC]
        spec = spec_ref.spec
        limit_s = spec.experiment["resources"]["epoch_timeout_s"]
        if limit_s is not None and has_timed_out(_error_file(spec), after=spec_ref.error_bytes):
            reason = describe_timeout(limit_s)
        else:
            text = _error_text(trial)
            reason = describe_death(text)
            if is_of_kind(reason, WORKER_DIED):
                _keep(text, _error_file(spec))
        self._bridge.died(spec.key, reason)
        spec_ref.release()

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


def describe_death(text: str) -> str:
    """Why a worker is gone, in a line that is not too long and holds no secrets.

    Args:
        text: what Ray has to say about it, tracebacks and all.
    """
    reason = redact_uri(_death(text))
    return reason if len(reason) <= _MAX_REASON else f"{reason[: _MAX_REASON - 4]} ..."


def _death(text: str) -> str:
    raised = re.findall(r"^(?:\w+\.)*TrialError: (.+)$", text, flags=re.MULTILINE)
    if raised:
        return str(raised[-1])
    words = " ".join(text.split()) or "no reason given"
    if "low on memory" in words:
        return f"{OUT_OF_MEMORY}: Ray has ended the worker, because its machine was running low on memory"
    cause = re.search(r"The actor is dead because (.*?)(?: Some common causes|$)", words)
    return f"{WORKER_DIED}: {words if cause is None else cause[1]}"


def _error_file(spec: TrialSpec) -> Path:
    return Path(spec.folder) / ERROR_FILE


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _error_text(trial: Trial) -> str:
    """What Tune has just written about the error of a trial. It keeps a pickle of it as well, which nobody opens."""
    try:
        return Path(trial.error_file or "").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _keep(text: str, path: Path) -> None:
    """Add to the file of a trial's errors what its worker could not say any more."""
    with contextlib.suppress(OSError), path.open("a", encoding="utf-8") as file:
        file.write(redact_uri(text))


def _key(trial: Trial) -> str:
    key: str = trial.config[SPEC].key
    return key
