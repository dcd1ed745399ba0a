"""Opens the work of a trial, and runs it epoch by epoch without ever raising. The same in every runner's worker."""

from __future__ import annotations

import dataclasses
import traceback
from pathlib import Path

from filelock import FileLock, Timeout

from distune.errors import TrialError
from distune.records import EpochReport, TrialSpec
from distune.study.artifacts import ERROR_FILE
from distune.study.failures import describe_failure, spoils_process
from distune.study.simulation import SimulatedWork
from distune.training.folder import TrialFolder
from distune.training.work import TrialWork

_TAKEOVER_TIMEOUT_S = 60.0
"""How long to wait for the worker of a session that was killed to let go of a trial."""


def open_work(spec: TrialSpec, *, simulate: bool) -> TrialWork:
    """Real training, or made-up curves. Goes on after the epochs in the trial's folder."""
    if simulate:
        return SimulatedWork(spec)
    from distune.training.trial import TrainingWork  # torch is loaded in the worker, and only for real work

    work: TrialWork = TrainingWork(spec)
    return work


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepResult:
    """What came of a step.

    Attributes:
        reports: epochs on record, in order; the caller may know some of them.
        failure: why the trial cannot go on, None when it can.
        is_spoilt: whether this process should work on nothing else.
    """

    reports: tuple[EpochReport, ...] = ()
    failure: str | None = None
    is_spoilt: bool = False


class Attempt:
    """One worker's attempt at a trial: opens it with the first step, and holds its folder until it is closed.

    The folder is locked: the worker of a killed session may live for some seconds and finish an epoch, and two workers
    on one trial would train an epoch twice.
    """

    def __init__(self, spec: TrialSpec, *, simulate: bool) -> None:
        self._spec, self._simulate = spec, simulate
        self._folder = TrialFolder(Path(spec.folder))
        self._lock = FileLock(self._folder.path / "work.lock", timeout=_TAKEOVER_TIMEOUT_S)
        self._work: TrialWork | None = None

    def step(self) -> StepResult:
        """Train an epoch; or, at the start of a trial that others have worked on, say what is on record.

        What is on record comes first, because its reader may know less of it than the folder: were an epoch trained at
        once, it might be one too many.

        Returns:
            The epochs in question. Or the failure, with its traceback in the folder.
        """
        try:
            if self._work is None:
                self._work = self._open()
                if self._work.epochs_done > 0:
                    return StepResult(reports=tuple(self._folder.reports()))
            return StepResult(reports=(self._work.run_epoch(),))
        except Exception as error:
            return self._failed(error)

    def close(self) -> None:
        """Give back what the trial holds. Never raises: a trial that has ended stays ended."""
        work, self._work = self._work, None
        try:
            if work is not None:
                work.close()
        except Exception:
            self._write_traceback()
        finally:
            self._lock.release()

    def _open(self) -> TrialWork:
        self._folder.path.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout:
            raise TrialError(
                f"another process still works on {self._folder.path}; stop it and resume the study"
            ) from None
        return open_work(self._spec, simulate=self._simulate)

    def _failed(self, error: Exception) -> StepResult:
        self._write_traceback()
        return StepResult(failure=describe_failure(error), is_spoilt=spoils_process(error))

    def _write_traceback(self) -> None:
        try:
            with (self._folder.path / ERROR_FILE).open("a", encoding="utf-8") as file:
                file.write(traceback.format_exc())
        except OSError:
            # A full or missing disk is the likely reason of the failure itself; the reason is still returned.
            return
