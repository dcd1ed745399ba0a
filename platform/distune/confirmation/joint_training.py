"""Trains the arms of a seed together until each of them has ended. The same on Ray and in this process."""

from __future__ import annotations

import contextlib
import dataclasses
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from distune.config.several_gpus import processes_of_trial
from distune.confirmation.arm_folder import ArmFolder
from distune.confirmation.simulated_arms import SimulatedRun
from distune.records import EpochReport, Outcome, TrialSpec
from distune.study.failures.reasons import OUT_OF_MEMORY, STORAGE, describe_failure, is_of_kind
from distune.study.failures.release_memory import forget_frames
from distune.study.files.artifacts import ERROR_FILE
from distune.study.runners.epoch_timeout import (
    EpochTimeoutError,
    TimeLimit,
    describe_joint_timeout,
    has_timed_out,
    raise_after,
)
from distune.study.trial_progress import TrialProgress
from distune.tracking.uris import redact_uri


class ArmsRun(Protocol):
    """Several trainings under one seed; see ``JointRun`` for the real ones."""

    @property
    def notes(self) -> Mapping[str, Sequence[str]]:
        """Key to the messages for the user about how a training was resumed, of those that were opened so far."""
        ...

    @property
    def behind(self) -> tuple[str, ...]:
        """Keys of the trainings that have epochs left."""
        ...

    def run_epoch(self) -> Mapping[str, EpochReport | Exception]:
        """Train those with the fewest epochs for one epoch. A training that raised is dropped."""
        ...

    def drop(self, key: str) -> None:
        """End a training."""
        ...

    def close(self) -> None:
        """Release memory and files."""
        ...


def _never() -> bool:
    return False


def _ignore() -> None:
    return None


@dataclasses.dataclass(frozen=True, kw_only=True)
class JobContext:
    """The connections of a job to its session.

    Attributes:
        should_stop: called between epochs.
        on_progress: called after something was written into a folder.
        time_limit: limits an epoch to ``resources.epoch_timeout_s`` for each arm.
    """

    should_stop: Callable[[], bool] = _never
    on_progress: Callable[[], None] = _ignore
    time_limit: TimeLimit = raise_after


def train_jointly(
    specs: Sequence[TrialSpec], context: JobContext, *, simulate: bool, may_retry: bool
) -> list[TrialSpec]:
    """Train arms in one cohort, and record the outcome of those that do not succeed.

    Args:
        specs: of the arms.
        context: of the job.
        simulate: simulate learning curves instead of training.
        may_retry: leave arms that ran out of memory without an outcome, so that they can be trained one at a time.

    Returns:
        The arms that ran out of memory, if they may be retried.

    Raises:
        Exception: an error of the disk, which would fail every arm.
    """
    by_key = {spec.key: spec for spec in specs}
    to_retry: list[TrialSpec] = []
    noted: set[str] = set()

    def fail(spec: TrialSpec, error: Exception) -> None:
        reason = describe_failure(error)
        if is_of_kind(reason, STORAGE):
            raise error
        if may_retry and is_of_kind(reason, OUT_OF_MEMORY):
            to_retry.append(spec)
        else:
            fail_arm(ArmFolder.of(spec), error)

    def add_notes(run: ArmsRun) -> None:
        for key, notes in run.notes.items():
            if key not in noted:
                noted.add(key)
                ArmFolder.of(by_key[key]).add_notes(notes)

    def train_epoch(run: ArmsRun) -> None:
        with _limited(specs, context.time_limit):
            answers = run.run_epoch()
        add_notes(run)
        for key, answer in answers.items():
            if isinstance(answer, Exception):
                fail(by_key[key], answer)
                forget_frames(answer)
                continue
            divergence = TrialProgress(by_key[key], by_key[key].metric).divergence(answer)
            if divergence is not None:
                run.drop(key)
                ArmFolder.of(by_key[key]).end(Outcome.DIVERGED, divergence)

    try:
        with _limited(specs, context.time_limit):
            run = _open(specs, simulate=simulate)
    except Exception as error:
        for spec in specs:
            fail(spec, error)
        forget_frames(error)
        return to_retry
    try:
        add_notes(run)
        while run.behind and not context.should_stop():
            train_epoch(run)
            context.on_progress()
    except Exception as error:  # of what the arms share: the data, the teacher or the time limit
        for spec in specs:
            if is_untrained(spec) and spec not in to_retry:
                fail(spec, error)
        forget_frames(error)
    finally:
        run.close()
    return [] if context.should_stop() else to_retry


def timeout_of(specs: Sequence[TrialSpec]) -> str | None:
    """Return the reason of arms whose worker was ended by the time limit; None when it was not."""
    limit_s = _limit_s(specs)
    return describe_joint_timeout(limit_s) if limit_s is not None and has_timed_out(timeout_file(specs)) else None


def timeout_file(specs: Sequence[TrialSpec]) -> Path:
    """Return the file for the traceback of a worker that is ended, one for all arms of a seed."""
    return Path(specs[0].folder).parent / ERROR_FILE


def has_all_epochs(spec: TrialSpec) -> bool:
    """Return whether an arm has done all its epochs and the last one was finite."""
    reports = ArmFolder.of(spec).trial.reports()
    if not reports or reports[-1].epoch < spec.num_epochs:
        return False
    return reports[-1].is_finite(spec.metric)


def is_untrained(spec: TrialSpec) -> bool:
    """Return whether an arm has epochs left and no outcome."""
    return ArmFolder.of(spec).outcome()[0] is None and not has_all_epochs(spec)


def fail_arm(folder: ArmFolder, error: Exception) -> None:
    """Record that an arm has failed, with the reason and the traceback."""
    with (folder.path / ERROR_FILE).open("a", encoding="utf-8") as file:
        file.write(redact_uri("".join(traceback.format_exception(error))))
    folder.end(Outcome.FAILED, describe_failure(error))


@contextlib.contextmanager
def _limited(specs: Sequence[TrialSpec], time_limit: TimeLimit) -> Iterator[None]:
    limit_s = _limit_s(specs)
    try:
        with time_limit(None if limit_s is None else limit_s * len(specs), timeout_file(specs)):
            yield
    except EpochTimeoutError as error:
        assert limit_s is not None
        raise EpochTimeoutError(describe_joint_timeout(limit_s)) from error


def _limit_s(specs: Sequence[TrialSpec]) -> float | None:
    limit_s: float | None = specs[0].experiment["resources"]["epoch_timeout_s"]
    return limit_s


def _open(specs: Sequence[TrialSpec], *, simulate: bool) -> ArmsRun:
    if simulate:
        return SimulatedRun(specs)
    if processes_of_trial(specs[0].experiment["resources"]["gpus_per_trial"]) > 1:
        from distune.training.processes.arms_in_turn import ArmsInTurn

        return ArmsInTurn(specs)
    from distune.training.joint_run import JointRun  # loads torch

    run: ArmsRun = JointRun(specs)
    return run
