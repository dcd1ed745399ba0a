"""An attempt of a worker at a trial, and the way of its results to the engine. The same for every runner."""

from __future__ import annotations

import dataclasses
import traceback
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from distune.records import EpochReport, TrialSpec
from distune.study.callback import Decision, StudyCallback
from distune.study.failures.reasons import (
    OUT_OF_MEMORY,
    FolderBusyError,
    corrupts_process,
    describe_failure,
    is_of_kind,
)
from distune.study.failures.release_memory import forget_frames, free_memory
from distune.study.files.artifacts import ERROR_FILE
from distune.study.runners.epoch_timeout import TimeLimit, raise_after
from distune.study.runners.simulation import SimulatedTrial
from distune.tracking.uris import redact_uri
from distune.training.trial_folder import TrialFolder
from distune.training.trial_protocol import TrialRun

if TYPE_CHECKING:  # a worker needs no engine, and no Optuna
    from distune.study.engine import StudyEngine

TAKEOVER_TIMEOUT_S = 60.0
"""Time to wait until the worker of a killed session releases a folder."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepResult:
    """The result of a step.

    Attributes:
        reports: recorded epochs, in order. The engine may know some of them.
        notes: messages for the user about how the trial was resumed.
        failure: why the trial cannot continue, None when it can.
        is_process_corrupted: whether the process must not run another trial.
        in_company: whether another trial of the same worker may be the cause of the failure.
        most_in_company: number of trials that the worker has memory for, once one has run out of it; None before.
    """

    reports: tuple[EpochReport, ...] = ()
    notes: tuple[str, ...] = ()
    failure: str | None = None
    is_process_corrupted: bool = False
    in_company: bool = False
    most_in_company: int | None = None


class TrialAttempt:
    """One worker's attempt at a trial. The first step opens the trial and locks its folder.

    The lock keeps out the worker of a killed session, which may live for some seconds and train the same epoch.

    Args:
        spec: of the trial.
        simulate: simulate learning curves instead of training.
        time_limit: limits each step to ``resources.epoch_timeout_s``.
    """

    def __init__(self, spec: TrialSpec, *, simulate: bool, time_limit: TimeLimit = raise_after) -> None:
        self._spec, self._simulate, self._time_limit = spec, simulate, time_limit
        self._limit_s: float | None = spec.experiment["resources"]["epoch_timeout_s"]
        self._folder = TrialFolder.of(spec)
        self._lock = FileLock(self._folder.path / "work.lock", timeout=TAKEOVER_TIMEOUT_S)
        self._trial: TrialRun | None = None

    def step(self) -> StepResult:
        """Train an epoch, and never raise. The first step of a resumed trial returns the recorded epochs instead.

        The engine may not know all recorded epochs yet. One of them may end the trial, so none is trained before.

        Returns:
            The epochs, or the failure. After a failure the attempt is closed, and the traceback is in the folder.
        """
        try:
            with self._time_limit(self._limit_s, self._folder.path / ERROR_FILE):
                return self._step()
        except Exception as error:
            self._write_traceback()
            failure, is_process_corrupted = describe_failure(error), corrupts_process(error)
            forget_frames(error)  # a cycle of the error and its frames would keep the trial's memory alive
        self.close()
        if is_of_kind(failure, OUT_OF_MEMORY):
            free_memory()
        return StepResult(failure=failure, is_process_corrupted=is_process_corrupted)

    def close(self) -> None:
        """Release memory and the lock of the folder. An error is written to the folder and not raised."""
        trial, self._trial = self._trial, None
        try:
            if trial is not None:
                trial.close()
        except Exception:
            self._write_traceback()
        finally:
            self._lock.release()

    def _step(self) -> StepResult:
        notes: tuple[str, ...] = ()
        if self._trial is None:
            self._trial = self._open()
            notes = self._trial.notes
            if self._trial.epochs_done > 0:
                return StepResult(reports=tuple(self._folder.reports()), notes=notes)
        return StepResult(reports=(self._trial.run_epoch(),), notes=notes)

    def _open(self) -> TrialRun:
        self._folder.path.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout:
            raise FolderBusyError(f"another process still works on {self._folder.path}") from None
        if self._simulate:
            return SimulatedTrial(self._spec)
        from distune.training.open_run import open_run  # loads torch

        return open_run(self._spec)

    def _write_traceback(self) -> None:
        try:
            with (self._folder.path / ERROR_FILE).open("a", encoding="utf-8") as file:
                file.write(redact_uri(traceback.format_exc()))
        except OSError:
            # The disk is probably the reason of the failure itself, which is still returned.
            return


def deliver(result: StepResult, key: str, engine: StudyEngine, callback: StudyCallback) -> Decision:
    """Pass the result of a step to the engine and the callback. Return STOP when the worker is done with the trial."""
    for note in result.notes:
        callback.on_message(f"trial {key}: {note}")
    for report in result.reports:
        if engine.report(key, report) is Decision.STOP:
            return Decision.STOP
    if result.failure is None:
        return Decision.CONTINUE
    engine.fail(key, result.failure, in_company=result.in_company)
    return Decision.STOP
