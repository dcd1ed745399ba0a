"""The result of a worker's step, and its way to the engine: the same for the local and the Ray runner."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from distune.records import EpochReport
from distune.study.callback import Decision, StudyCallback

if TYPE_CHECKING:  # workers need no engine, and no Optuna
    from distune.study.engine import StudyEngine


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepResult:
    """The result of a step.

    Attributes:
        reports: recorded epochs, in order. The engine may know some of them.
        notes: messages for the user about how the trial was resumed.
        failure: why the trial cannot continue, None when it can.
        is_process_corrupted: whether the process must not run another trial.
    """

    reports: tuple[EpochReport, ...] = ()
    notes: tuple[str, ...] = ()
    failure: str | None = None
    is_process_corrupted: bool = False


def deliver(result: StepResult, key: str, engine: StudyEngine, callback: StudyCallback) -> Decision:
    """Pass the result of a step to the engine and the callback. Return STOP when the worker is done with the trial."""
    for note in result.notes:
        callback.on_message(f"trial {key}: {note}")
    for report in result.reports:
        if engine.report(key, report) is Decision.STOP:
            return Decision.STOP
    if result.failure is None:
        return Decision.CONTINUE
    engine.fail(key, result.failure)
    return Decision.STOP
