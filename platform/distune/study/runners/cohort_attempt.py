"""Attempts of one worker at several trials, which it trains side by side. The same for every runner."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from filelock import FileLock, Timeout

from distune.records import EpochReport, TrialSpec
from distune.study.failures.reasons import (
    OUT_OF_MEMORY,
    WORKER_DIED,
    FolderBusyError,
    corrupts_process,
    describe_failure,
    is_of_kind,
)
from distune.study.failures.release_memory import forget_frames, free_memory
from distune.study.failures.retries import Company
from distune.study.files.artifacts import ERROR_FILE
from distune.study.runners.epoch_timeout import (
    EpochTimeoutError,
    TimeLimit,
    describe_joint_timeout,
    raise_after,
)
from distune.study.runners.simulated_host import SimulatedHost
from distune.study.runners.trial_attempt import TAKEOVER_TIMEOUT_S, StepResult
from distune.tracking.uris import redact_uri
from distune.training.trial_folder import TrialFolder
from distune.training.trial_protocol import TrialHost


@dataclasses.dataclass
class _Member:
    """A trial of the worker.

    Attributes:
        spec: of the trial.
        lock: of its folder, held while it is a member.
        company: whether others may share its device.
        is_open: it is in the host.
        is_known: its recorded epochs were returned.
    """

    spec: TrialSpec
    lock: FileLock
    company: Company
    is_open: bool = False
    is_known: bool = False

    @property
    def error_file(self) -> Path:
        return Path(self.spec.folder) / ERROR_FILE


def share_corruption(
    results: Mapping[str, StepResult], *, active: Collection[str], members: Iterable[str]
) -> tuple[dict[str, StepResult], str | None]:
    """Return the results of an epoch, and the error that has corrupted the process.

    After such an error of one of several trials, all of them fail, and the cause is not known. Each member has lost its
    worker in company then, so that it is retried alone later.

    Args:
        results: key to result, see ``CohortAttempt.step``.
        active: keys of the trials that the epoch worked on.
        members: keys of all trials of the worker.

    Returns:
        Key to result, with all reports and notes; and the trial and reason of the error, such as ``trial 1: bug: ...``,
        or None when the process can continue.
    """
    first = next(((key, each.failure) for key, each in results.items() if each.is_process_corrupted), None)
    if first is None:
        return dict(results), None
    cause, reason = first
    corruption = f"trial {cause}: {reason}"
    if len(active) < 2:
        return dict(results), corruption
    failure = f"{WORKER_DIED}: {reason}"
    done = {key: results.get(key, StepResult()) for key in members}
    return {
        key: StepResult(reports=each.reports, notes=each.notes, failure=failure, in_company=True)
        for key, each in done.items()
    }, corruption


class CohortAttempt:
    """One worker's attempts at several trials, an epoch at a time.

    A trial that must not share its device is trained alone: the others are closed, and resume from their
    checkpoints when it has ended. The folder of each trial is locked, which keeps out the worker of a killed session.

    Args:
        simulate: simulate learning curves instead of training.
        time_limit: limits each step to ``resources.epoch_timeout_s`` for each trial.

    Attributes:
        most: number of trials that fit into the memory, known once one has run out of it; None before.
    """

    def __init__(self, *, simulate: bool, time_limit: TimeLimit = raise_after) -> None:
        self._simulate, self._time_limit = simulate, time_limit
        self._members: dict[str, _Member] = {}
        self._host: TrialHost | None = None
        self.most: int | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the trials that the worker trains."""
        return tuple(self._members)

    @property
    def active(self) -> tuple[str, ...]:
        """Keys of the trials that the next step works on: all, or the one that must be alone."""
        alone = next((each for each in self._members.values() if each.company is not Company.SHARED), None)
        return self.keys if alone is None else (alone.spec.key,)

    def add(self, spec: TrialSpec, company: Company = Company.SHARED) -> None:
        """Add a trial. The next step opens it.

        Args:
            spec: of the trial.
            company: whether others may share its device.
        """
        # Not thread-local: ``CohortWorker`` acquires it in one thread, and may release it in another.
        lock = FileLock(Path(spec.folder) / "work.lock", timeout=TAKEOVER_TIMEOUT_S, thread_local=False)
        self._members[spec.key] = _Member(spec, lock, company)

    def remove(self, key: str) -> None:
        """Stop working on a trial, and release its memory and the lock of its folder. Ignore an unknown key."""
        member = self._members.pop(key, None)
        if member is not None:
            try:
                self._close(member)
            finally:
                member.lock.release()

    def close(self) -> None:
        """Stop working on all trials."""
        for key in self.keys:
            self.remove(key)
        host, self._host = self._host, None
        if host is not None:
            host.close()

    def step(self) -> dict[str, StepResult]:
        """Train an epoch of the trials, and never raise.

        The first step of resumed trials returns their recorded epochs instead: the engine may not know all of them, and
        one may end its trial.

        Returns:
            Key to result. A trial with a failure is no member afterwards, and its traceback is in its folder. Trials
            that wait have no entry.
        """
        active = self._active()
        results: dict[str, StepResult] = {}
        for member in active:
            opened = self._guarded([member], functools.partial(self._open, member))
            results |= {
                key: result for key, result in opened.items() if result.reports or result.failure or result.notes
            }
        if any(result.reports or result.failure for result in results.values()):
            return results
        trained = self._guarded(active, self._train)
        return {
            key: dataclasses.replace(result, notes=(*results[key].notes, *result.notes)) if key in results else result
            for key, result in {**results, **trained}.items()
        }

    def _active(self) -> list[_Member]:
        """Return the trials of the next epoch. One that must be alone is the only one, and the others are closed."""
        active = self.active
        for key, member in self._members.items():
            if key not in active:
                self._close(member)
        return [self._members[key] for key in active]

    def _open(self, member: _Member) -> dict[str, StepResult]:
        if member.is_open:
            return {}
        folder = TrialFolder.of(member.spec)
        folder.path.mkdir(parents=True, exist_ok=True)
        try:
            member.lock.acquire()
        except Timeout:
            raise FolderBusyError(f"another process still works on {folder.path}") from None
        opened = self._get_host().open(member.spec)
        member.is_open = True
        is_resumed = opened.epochs_done > 0 and not member.is_known
        member.is_known = True
        return {member.spec.key: StepResult(reports=tuple(folder.reports()) if is_resumed else (), notes=opened.notes)}

    def _train(self) -> dict[str, StepResult]:
        results: dict[str, StepResult] = {}
        outcomes = self._get_host().run_epoch()
        for key, outcome in outcomes.items():
            member = self._members[key]
            if isinstance(outcome, EpochReport):
                results[key] = StepResult(reports=(outcome,))
                if member.company is Company.ALONE_FOR_AN_EPOCH:
                    member.company = Company.SHARED
            else:
                member.is_open = False
                text = "".join(traceback.format_exception(outcome))
                results[key] = self._fail(member, outcome, text, num_others=len(outcomes) - 1)
        return results

    def _guarded(self, members: list[_Member], function: Callable[[], dict[str, StepResult]]) -> dict[str, StepResult]:
        """Call a function under the time limit. Its error fails all members that it works on.

        If it ran out of memory with several of them, it only fails the one that has joined last.
        """
        if not members:
            return {}
        limit_s: float | None = members[0].spec.experiment["resources"]["epoch_timeout_s"]
        total_s = None if limit_s is None else limit_s * len(members)
        try:
            with self._time_limit(total_s, members[0].error_file):
                return function()
        except EpochTimeoutError as timeout:
            assert limit_s is not None
            error: Exception = timeout if len(members) == 1 else EpochTimeoutError(describe_joint_timeout(limit_s))
        except Exception as raised:
            error = raised
        failed = members
        if len(members) > 1 and is_of_kind(describe_failure(error), OUT_OF_MEMORY):
            # In what they share, such as the teacher: fewer may fit. The others repeat the epoch.
            failed = members[-1:]
            for member in members[:-1]:
                self._close(member)
        others = [
            each for each in self._members.values() if each is not failed[0] and (each.is_open or each in members)
        ]
        text = "".join(traceback.format_exception(error))
        return {member.spec.key: self._fail(member, error, text, num_others=len(others)) for member in failed}

    def _fail(self, member: _Member, error: Exception, text: str, *, num_others: int) -> StepResult:
        failure, is_process_corrupted = describe_failure(error), corrupts_process(error)
        # A disk that cannot be written to is probably the reason of the failure itself.
        with contextlib.suppress(OSError), member.error_file.open("a", encoding="utf-8") as file:
            file.write(redact_uri(text))
        forget_frames(error)
        self.remove(member.spec.key)
        notes: tuple[str, ...] = ()
        if is_of_kind(failure, OUT_OF_MEMORY):
            free_memory()
            notes = self._limit_to(num_others)
        return StepResult(
            failure=failure, is_process_corrupted=is_process_corrupted, notes=notes, most_in_company=self.most
        )

    def _limit_to(self, number: int) -> tuple[str, ...]:
        """Note that only so few trials fit. Return the message for the user, empty if it is known."""
        if number < 1 or (self.most is not None and self.most <= number):
            return ()
        self.most = number
        beside = "another trial" if number == 1 else f"{number} others"
        return (f"ran out of memory beside {beside}: its worker trains at most {number} at a time from now on",)

    def _close(self, member: _Member) -> None:
        if member.is_open and self._host is not None:
            self._host.leave(member.spec.key)
        member.is_open = False

    def _get_host(self) -> TrialHost:
        if self._host is None:
            if self._simulate:
                self._host = SimulatedHost()
            else:
                from distune.training.trial_cohort import TrialCohort  # loads torch

                self._host = TrialCohort()
        return self._host
