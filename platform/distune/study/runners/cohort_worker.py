"""A worker that trains several trials side by side, while each of them is asked for by a caller of its own.

Ray Tune sees one trial at a time: the caller of each trial waits in ``step`` for the end of its epoch. An epoch starts
when all trials of the worker are waiting. Independent of Ray.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from distune.records import TrialSpec
from distune.study.failures.reasons import WORKER_DIED, describe_failure
from distune.study.failures.retries import Company
from distune.study.files.artifacts import ERROR_FILE
from distune.study.runners.cohort_attempt import CohortAttempt, share_corruption
from distune.study.runners.epoch_timeout import describe_joint_timeout, describe_timeout, no_limit
from distune.study.runners.trial_attempt import StepResult
from distune.tracking.uris import redact_uri

_FIRST_WAIT_S = 20.0
"""Longest time that the first epoch waits for the trials that are to start together."""
_WAIT_SHARE = 0.1
"""Later epochs wait for another trial at most this share of the length of an epoch."""
_EXIT_DELAY_S = 1.0
"""Time for the results of a worker that ends itself to reach the driver."""


def _end_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@dataclasses.dataclass(frozen=True)
class _Visit:
    """The stay of a trial in a worker. A retry of the trial is another one."""

    spec: TrialSpec
    number: int


class CohortWorker:
    """Trains trials side by side, an epoch at a time. Its methods are called from many threads.

    When an epoch takes too long, or an error corrupts the process, the callers get their results and the process ends.

    Args:
        size: number of trials that are trained side by side.
        num_first: number of trials that the first epoch waits for, up to 20 seconds; 0 in a worker that was restarted.
        simulate: simulate learning curves instead of training.
        end_process: ends this process.
    """

    def __init__(
        self, *, size: int, num_first: int, simulate: bool, end_process: Callable[[], None] = _end_process
    ) -> None:
        self._size, self._num_first, self._end_process = size, num_first, end_process
        self._attempt = CohortAttempt(simulate=simulate, time_limit=no_limit)
        self._changed = threading.Condition()
        self._entering: dict[str, tuple[TrialSpec, Company]] = {}
        self._leaving: set[str] = set()
        self._visits: dict[str, _Visit] = {}
        self._waiting: set[str] = set()
        self._results: dict[str, StepResult] = {}
        self._is_training = self._is_ending = False
        self._active: tuple[str, ...] = ()
        self._limit_s: float | None = None
        self._deadline = float("inf")
        self._epoch_s: float | None = None
        self._since = time.monotonic()
        threading.Thread(target=self._train, name="distune-cohort", daemon=True).start()

    def step(self, spec: TrialSpec, company: Company, visit: int = 0) -> StepResult:
        """Train an epoch of a trial, together with the other trials. Return when it has ended.

        Args:
            spec: of the trial. It joins with its first step.
            company: whether other trials may share the device, at its first step.
            visit: number of the trial's stay here. A retry has a new one.

        Returns:
            See ``CohortAttempt.step``. After a failure the trial has left.
        """
        key = spec.key
        with self._changed:
            if key in self._visits and not self._is_here(key, visit):
                self._remove(key)
            if key not in self._visits:
                self._visits[key] = _Visit(spec, visit)
                self._entering[key] = (spec, company)
            self._waiting.add(key)
            self._changed.notify_all()
            while self._is_here(key, visit) and key not in self._results:
                self._changed.wait(1.0)
                if time.monotonic() > self._deadline:
                    self._time_out()
            if not self._is_here(key, visit):
                return StepResult()  # the result of a visit that has ended is not read
            result = self._results.pop(key)
            if result.failure is not None:
                del self._visits[key]
                self._changed.notify_all()  # the others do not wait for this trial any more
            return result

    def leave(self, key: str, visit: int = 0) -> None:
        """Stop working on a trial. Ignore a visit that has ended: a retry of the trial may be here."""
        with self._changed:
            if self._is_here(key, visit):
                try:
                    self._remove(key)
                finally:
                    self._changed.notify_all()

    def is_here(self, key: str, visit: int = 0) -> bool:
        """Return whether a visit of a trial has begun and has not ended."""
        with self._changed:
            return self._is_here(key, visit)

    def describe(self) -> str:
        """Return what the worker does, such as ``trains trials 3, 5 since 340 s``, for a user who waits for it."""
        with self._changed:
            seconds = f"since {time.monotonic() - self._since:.0f} s"
            if self._is_ending:
                return "is ending its process"
            if self._is_training:
                return f"trains trials {', '.join(self._active)} {seconds}"
            asking = ", ".join(key for key in self._visits if key in self._waiting)
            others = ", ".join(key for key in self._visits if key not in self._waiting)
            return f"waits {seconds}; asked for an epoch of: {asking or 'none'}; not of: {others or 'none'}"

    def _is_here(self, key: str, number: int) -> bool:
        return key in self._visits and self._visits[key].number == number

    def _remove(self, key: str) -> None:
        self._visits.pop(key, None)
        self._waiting.discard(key)
        self._results.pop(key, None)
        if self._entering.pop(key, None) is None:
            if self._is_training:
                self._leaving.add(key)
            else:
                self._attempt.remove(key)

    def _train(self) -> None:
        try:
            while True:
                self._train_an_epoch()
        except BaseException as error:
            self._give_up(error)  # without this thread all callers would wait for ever

    def _train_an_epoch(self) -> None:
        with self._changed:
            self._wait_until_due()
            for spec, company in self._entering.values():
                _unmark_active(spec)  # the file of a worker that has died
                self._attempt.add(spec, company)
            self._entering.clear()
            self._is_training, self._active = True, self._attempt.active
            visits = {key: self._visits[key] for key in self._active}
            for visit in visits.values():
                _mark_active(visit.spec, len(visits))
            self._set_deadline()
        started = self._since = time.monotonic()
        results = self._attempt.step()
        for visit in visits.values():
            _unmark_active(visit.spec)
        with self._changed:
            self._is_training, self._deadline = False, float("inf")
            self._since = time.monotonic()
            self._epoch_s = self._since - started
            if self._attempt.most is not None:
                self._size = min(self._size, self._attempt.most)
            for key in self._leaving:
                self._attempt.remove(key)
            self._leaving.clear()
            self._publish(results, visits)

    def _give_up(self, error: BaseException) -> None:
        """End the process after an error between epochs, which belongs to no trial."""
        text = "".join(traceback.format_exception(error))
        failure = f"{WORKER_DIED}: {describe_failure(error)}"
        with self._changed:
            self._deadline = float("inf")
            for key in self._waiting:
                if key in self._visits:
                    _append_error(self._visits[key].spec, text)
                self._results[key] = StepResult(failure=failure, in_company=len(self._visits) > 1)
            self._waiting.clear()
            self._changed.notify_all()
            self._end_soon()

    def _wait_until_due(self) -> None:
        """Wait until all trials wait for an epoch, and a moment longer for others that may join."""
        is_first = self._epoch_s is None
        longest_s = _FIRST_WAIT_S if is_first else _WAIT_SHARE * (self._epoch_s or 0.0)
        wanted = self._num_first if is_first else self._size
        due_at: float | None = None
        while True:
            if self._is_ending or not self._waiting or not set(self._visits) <= self._waiting:
                due_at = None
                self._changed.wait()
                continue
            due_at = time.monotonic() + longest_s if due_at is None else due_at
            left_s = due_at - time.monotonic()
            if len(self._waiting) >= wanted or left_s <= 0:
                return
            self._changed.wait(left_s)

    def _set_deadline(self) -> None:
        """Set the end of the time that the epoch may take: the limit of one trial, for each trial."""
        self._limit_s = self._visits[self._active[0]].spec.experiment["resources"]["epoch_timeout_s"]
        if self._limit_s is not None:
            self._deadline = time.monotonic() + self._limit_s * len(self._active)

    def _publish(self, results: dict[str, StepResult], visits: dict[str, _Visit]) -> None:
        """Give callers the results of an epoch. Visits that ended during it have none, but may be the corruption."""
        named = {key if self._visits.get(key) is visits[key] else f"{key}, left": each for key, each in results.items()}
        shared, corruption = share_corruption(named, active=self._active, members=self._waiting)
        for key, result in shared.items():
            if key in self._waiting:
                self._waiting.discard(key)
                self._results[key] = result
        self._changed.notify_all()
        if corruption is not None:
            self._end_soon()

    def _time_out(self) -> None:
        """Give up an epoch that takes too long: nothing can interrupt it, so the process ends."""
        self._deadline = float("inf")
        limit_s = self._limit_s
        assert limit_s is not None
        is_alone = len(self._active) == 1
        lost = StepResult(failure=f"{WORKER_DIED}: {describe_joint_timeout(limit_s)}", in_company=True)
        for key in self._waiting:
            is_cause = is_alone and key in self._active
            self._results[key] = StepResult(failure=describe_timeout(limit_s)) if is_cause else lost
            if key in self._active:
                _write_stacks(self._visits[key].spec)
        self._waiting.clear()
        self._changed.notify_all()
        self._end_soon()

    def _end_soon(self) -> None:
        """End the process in a moment. No epoch starts until then: its trial would seem to be the cause."""
        self._is_ending = True
        threading.Timer(_EXIT_DELAY_S, self._end_process).start()


def active_file(spec: TrialSpec) -> Path:
    """Return the file that exists while a worker trains a trial; it holds the number of trials trained together."""
    return Path(spec.folder) / "active"


def ended_alone(spec: TrialSpec) -> bool:
    """Return whether the worker of a trial, which has died, was training this trial alone.

    The file is removed: if the next worker dies before it trains the trial, the trial is not the cause.
    """
    file = active_file(spec)
    try:
        is_alone = file.read_text() == "1"
    except OSError:
        return False  # it was waiting
    with contextlib.suppress(OSError):
        file.unlink()
    return is_alone


def _mark_active(spec: TrialSpec, number: int) -> None:
    with contextlib.suppress(OSError):  # a disk that cannot be written to is found by the trial itself
        active_file(spec).parent.mkdir(parents=True, exist_ok=True)
        active_file(spec).write_text(str(number))


def _unmark_active(spec: TrialSpec) -> None:
    """Remove the file. An error would end the thread that trains, and all callers would wait for ever."""
    with contextlib.suppress(OSError):
        active_file(spec).unlink(missing_ok=True)


def _append_error(spec: TrialSpec, text: str) -> None:
    with contextlib.suppress(OSError), (Path(spec.folder) / ERROR_FILE).open("a", encoding="utf-8") as file:
        file.write(redact_uri(text))


def _write_stacks(spec: TrialSpec) -> None:
    """Append the stacks of all threads to the error file of a trial: they show where the epoch hung."""
    try:
        with (Path(spec.folder) / ERROR_FILE).open("a", encoding="utf-8") as file:
            faulthandler.dump_traceback(file=file)
    except OSError:
        return
