"""Reasons of failures of Ray workers, read from Ray's messages and from the error file of the trial."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from ray.tune.experiment import Trial

from distune.records import TrialSpec
from distune.study.failures.reasons import OUT_OF_MEMORY, WORKER_DIED, is_of_kind
from distune.study.files.artifacts import ERROR_FILE
from distune.study.runners.epoch_timeout import describe_timeout, has_timed_out
from distune.study.runners.spec_ref import SpecRef
from distune.tracking.uris import redact_uri

_MAX_CHARACTERS = 500
"""A reason is a tag in MLflow and a cell of a table. The whole message is in the trial's error file."""


def failure_of(trial: Trial, spec_ref: SpecRef) -> str:
    """Return why a trial has lost its worker. Append Ray's message to the trial's error file when the worker died."""
    error_file = _error_file(spec_ref.spec)
    limit_s: float | None = spec_ref.spec.experiment["resources"]["epoch_timeout_s"]
    if limit_s is not None and has_timed_out(error_file, after=spec_ref.error_bytes):
        return describe_timeout(limit_s)
    text = _read_tune_error(trial)
    reason = describe_worker_failure(text)
    if is_of_kind(reason, WORKER_DIED):
        with contextlib.suppress(OSError), error_file.open("a", encoding="utf-8") as file:
            file.write(redact_uri(text))
    return reason


def describe_worker_failure(text: str) -> str:
    """Return why a worker failed, on one line of at most 500 characters and without secrets, from Ray's message."""
    reason = redact_uri(_reason_in(text))
    return reason if len(reason) <= _MAX_CHARACTERS else f"{reason[: _MAX_CHARACTERS - 4]} ..."


def error_bytes(spec: TrialSpec) -> int:
    """Return the size of a trial's error file, 0 when there is none."""
    try:
        return _error_file(spec).stat().st_size
    except OSError:
        return 0


def _error_file(spec: TrialSpec) -> Path:
    return Path(spec.folder) / ERROR_FILE


def _reason_in(text: str) -> str:
    raised = re.findall(r"^(?:\w+\.)*TrialError: (.+)$", text, flags=re.MULTILINE)
    if raised:
        return str(raised[-1])
    message = " ".join(text.split()) or "no reason given"
    if "low on memory" in message:
        return f"{OUT_OF_MEMORY}: Ray has ended the worker, because its machine was running low on memory"
    cause = re.search(r"The actor is dead because (.*?)(?: Some common causes|$)", message)
    return f"{WORKER_DIED}: {message if cause is None else cause[1]}"


def _read_tune_error(trial: Trial) -> str:
    """Read the text that Tune wrote about a trial's error. The pickle beside it is not opened."""
    try:
        return Path(trial.error_file or "").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
