"""Trains arms side by side until each has ended, whatever goes wrong. The same on Ray and in this process."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from distune.confirmation.arm_folder import ArmFolder
from distune.confirmation.simulated_arms import SimulatedRun
from distune.records import EpochReport, Outcome, TrialSpec
from distune.study.failures.reasons import OUT_OF_MEMORY, STORAGE, describe_failure, is_of_kind
from distune.study.files.artifacts import ERROR_FILE
from distune.study.runners.epoch_timeout import Deadline, EpochTimeoutError, describe_joint_timeout, has_timed_out
from distune.study.trial_progress import TrialProgress
from distune.tracking.uris import redact_uri


class ArmsRun(Protocol):
    """Several trainings under one seed; see ``JointRun`` for the real ones."""

    @property
    def notes(self) -> Mapping[str, Sequence[str]]:
        """Key to what a person should know about how that one was opened."""
        ...

    @property
    def behind(self) -> tuple[str, ...]:
        """Keys of those that have epochs to do."""
        ...

    def run_epoch(self) -> Mapping[str, EpochReport | Exception]:
        """Train those that are furthest behind for one epoch. One that went wrong is dropped."""
        ...

    def drop(self, key: str) -> None:
        """Train one no further."""
        ...

    def close(self) -> None:
        """Give back what is held."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class JobContext:
    """What the work on a seed has around it.

    Attributes:
        should_stop: asked between epochs.
        heard: called when something has been put on record.
        deadline: what happens to an epoch that takes longer than ``resources.epoch_timeout_s`` for each arm.
    """

    should_stop: Callable[[], bool]
    heard: Callable[[], None]
    deadline: Deadline


def train_together(
    specs: Sequence[TrialSpec], around: JobContext, *, simulate: bool, may_be_too_many: bool
) -> list[TrialSpec]:
    """Train arms in one cohort. Returns those to be tried alone: together they were too many for the memory.

    Raises:
        Exception: for want of the disk (``is_storage_trouble``), of which every arm would fail.
    """
    by_key = {spec.key: spec for spec in specs}
    too_large: list[TrialSpec] = []

    def failed(spec: TrialSpec, error: Exception) -> None:
        reason = describe_failure(error)
        if is_of_kind(reason, STORAGE):
            raise error
        if may_be_too_many and is_of_kind(reason, OUT_OF_MEMORY):
            too_large.append(spec)
        else:
            fail_arm(ArmFolder.of(spec), error)

    def train_epoch(run: ArmsRun) -> None:  # on its own: errors hold on to memory, and are gone with it
        with _bounded(specs, around.deadline):
            answers = run.run_epoch()
        for key, answer in answers.items():
            if isinstance(answer, Exception):
                failed(by_key[key], answer)
                continue
            divergence = _progress(by_key[key]).divergence(answer)
            if divergence is not None:
                run.drop(key)
                ArmFolder.of(by_key[key]).end(Outcome.DIVERGED, divergence)

    try:
        with _bounded(specs, around.deadline):
            run = _open(specs, simulate=simulate)
    except Exception as error:
        for spec in specs:
            failed(spec, error)
        return too_large
    try:
        for key, notes in run.notes.items():
            ArmFolder.of(by_key[key]).note(notes)
        while run.behind and not around.should_stop():
            train_epoch(run)
            around.heard()
    except Exception as error:  # of the stream, the teacher or the clock: nobody can go on
        for spec in specs:
            is_open = ArmFolder.of(spec).outcome()[0] is None and not has_all_epochs(spec)
            if is_open and spec not in too_large:
                failed(spec, error)
    finally:
        run.close()
    return [] if around.should_stop() else too_large


def timeout_of(specs: Sequence[TrialSpec]) -> str | None:
    """The reason of arms whose worker was ended because an epoch took too long; None when it was not."""
    limit_s = _limit_s(specs)
    return describe_joint_timeout(limit_s) if limit_s is not None and has_timed_out(timeout_file(specs)) else None


def timeout_file(specs: Sequence[TrialSpec]) -> Path:
    """Takes the traceback of a worker that is ended: it may hang for any of the arms."""
    return Path(specs[0].folder).parent / ERROR_FILE


def has_all_epochs(spec: TrialSpec) -> bool:
    """Whether an arm is trained, and the last epoch was finite."""
    reports = ArmFolder.of(spec).trial.reports()
    if not reports or reports[-1].epoch < spec.num_epochs:
        return False
    metric = spec.metric
    return math.isfinite(reports[-1].metrics.get(metric, math.nan))


def fail_arm(folder: ArmFolder, error: Exception) -> None:
    """Put on record that an arm has failed, and why."""
    with (folder.path / ERROR_FILE).open("a", encoding="utf-8") as file:
        file.write(redact_uri("".join(traceback.format_exception(error))))
    folder.end(Outcome.FAILED, describe_failure(error))


@contextlib.contextmanager
def _bounded(specs: Sequence[TrialSpec], deadline: Deadline) -> Iterator[None]:
    limit_s = _limit_s(specs)
    try:
        with deadline(None if limit_s is None else limit_s * len(specs), timeout_file(specs)):
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
    from distune.training.joint_run import JointRun  # torch is loaded in the worker, and only for real work

    run: ArmsRun = JointRun(specs)
    return run


def _progress(spec: TrialSpec) -> TrialProgress:
    return TrialProgress(spec, spec.metric)
