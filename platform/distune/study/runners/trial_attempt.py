"""Opens the work of a trial, and runs it epoch by epoch without ever raising. The same in every runner's worker."""

from __future__ import annotations

import dataclasses
import gc
import sys
import traceback

from filelock import FileLock, Timeout

from distune.records import EpochReport, TrialSpec
from distune.study.failures.reasons import OUT_OF_MEMORY, FolderBusyError, describe_failure, is_of_kind, spoils_process
from distune.study.files.artifacts import ERROR_FILE
from distune.study.runners.epoch_timeout import Deadline, raise_after
from distune.study.runners.simulation import SimulatedWork
from distune.tracking.uris import redact_uri
from distune.training.trial_folder import TrialFolder
from distune.training.trial_protocol import TrialWork

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
        notes: what a person should know about how the trial goes on.
        failure: why the trial cannot go on, None when it can.
        is_spoilt: whether this process should work on nothing else.
    """

    reports: tuple[EpochReport, ...] = ()
    notes: tuple[str, ...] = ()
    failure: str | None = None
    is_spoilt: bool = False


class Attempt:
    """One worker's attempt at a trial: opens it with the first step, and holds its folder until it fails or is closed.

    The folder is locked: the worker of a killed session may live for some seconds and finish an epoch, and two workers
    on one trial would train an epoch twice.

    Args:
        spec: of the trial.
        simulate: make up learning curves instead of training.
        deadline: what happens to a step that takes longer than ``resources.epoch_timeout_s``.
    """

    def __init__(self, spec: TrialSpec, *, simulate: bool, deadline: Deadline = raise_after) -> None:
        self._spec, self._simulate, self._deadline = spec, simulate, deadline
        self._limit_s: float | None = spec.experiment["resources"]["epoch_timeout_s"]
        self._folder = TrialFolder.of(spec)
        self._lock = FileLock(self._folder.path / "work.lock", timeout=_TAKEOVER_TIMEOUT_S)
        self._work: TrialWork | None = None

    def step(self) -> StepResult:
        """Train an epoch; or, at the start of a trial that others have worked on, say what is on record.

        What is on record comes first, because its reader may know less of it than the folder: were an epoch trained at
        once, it might be one too many.

        Returns:
            The epochs in question. Or the failure, with its traceback in the folder; the attempt is closed then.
        """
        try:
            with self._deadline(self._limit_s, self._folder.path / ERROR_FILE):
                return self._step()
        except Exception as error:
            self._write_traceback()
            failure, is_spoilt = describe_failure(error), spoils_process(error)
        # Out of the handler, so that nothing holds on to the frames of the error, and memory really comes back.
        self.close()
        if is_of_kind(failure, OUT_OF_MEMORY):
            _free_memory()
        return StepResult(failure=failure, is_spoilt=is_spoilt)

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

    def _step(self) -> StepResult:
        notes: tuple[str, ...] = ()
        if self._work is None:
            self._work = self._open()
            notes = self._work.notes
            if self._work.epochs_done > 0:
                return StepResult(reports=tuple(self._folder.reports()), notes=notes)
        return StepResult(reports=(self._work.run_epoch(),), notes=notes)

    def _open(self) -> TrialWork:
        self._folder.path.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout:
            raise FolderBusyError(f"another process still works on {self._folder.path}") from None
        return open_work(self._spec, simulate=self._simulate)

    def _write_traceback(self) -> None:
        try:
            with (self._folder.path / ERROR_FILE).open("a", encoding="utf-8") as file:
                file.write(redact_uri(traceback.format_exc()))
        except OSError:
            # A full or missing disk is the likely reason of the failure itself; the reason is still returned.
            return


def _free_memory() -> None:
    """Give back to the device what no tensor needs any more. Does not import torch by itself."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
