"""Names, params, tags and statuses in the form that MLflow accepts. Pure functions."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from distune.config.format_value import format_value
from distune.records import Outcome, ParameterValue, TrialRecord, TrialState
from distune.tracking.events import TrialStarted

MAX_NAME_LENGTH = 250
MAX_PARAM_LENGTH = 6000
MAX_TAG_LENGTH = 5000

_NOT_ALLOWED = re.compile(r"[^\w.\- /]")
_SEARCH = "search/"
_KEPT_IN_SUMMARY = ("gain/", "test/", "best/", "confirm/")
_RUN_STATUS = {
    Outcome.WAITING: "SCHEDULED",
    Outcome.RUNNING: "RUNNING",
    Outcome.INTERRUPTED: "KILLED",
    Outcome.FINISHED: "FINISHED",
    Outcome.STOPPED: "FINISHED",
    Outcome.DIVERGED: "FAILED",
    Outcome.FAILED: "FAILED",
}


def name_text(name: str) -> str:
    """Return a name of a metric, param or tag that MLflow accepts: ``AP[person]`` becomes ``AP_person``.

    MLflow allows up to 250 letters, digits and ``_ - . space /``, and names must be relative paths. (It also allows
    ``:``, but not on Windows.)
    """
    cleaned = _NOT_ALLOWED.sub("_", name)
    if cleaned != name:
        cleaned = re.sub(r"__+", "_", cleaned).rstrip("_")
    parts = [part for part in cleaned[:MAX_NAME_LENGTH].split("/") if part.strip(" .")]
    return "/".join(parts).lstrip(".") or "_"


def metric_values(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return metrics under names that MLflow accepts; equal names get a number.

    Infinities become NaN: MLflow's databases would store the largest float instead, which makes charts unreadable.
    """
    values: dict[str, float] = {}
    for name in sorted(metrics):
        base = key = name_text(name)
        repeat = 1
        while key in values:
            repeat += 1
            suffix = f"_{repeat}"
            key = f"{base[: MAX_NAME_LENGTH - len(suffix)]}{suffix}"
        value = float(metrics[name])
        values[key] = value if math.isfinite(value) else math.nan
    return values


def summary_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics that summarize a trial, from those of its best epoch.

    ``search/AP``, or ``AP`` alone, becomes ``best/AP``; gains and scores of the test split keep their names; losses,
    times and all others are left out.
    """
    summary: dict[str, float] = {}
    for name, value in metrics.items():
        if name.startswith(_KEPT_IN_SUMMARY):
            summary[name] = value
        elif name.startswith(_SEARCH) or "/" not in name:
            summary[f"best/{name.removeprefix(_SEARCH)}"] = value
    return summary


def param_values(params: Mapping[str, ParameterValue]) -> dict[str, str]:
    """Return params as text: true, false and null as in YAML, numbers with all digits."""
    return {name_text(name): format_value(value)[:MAX_PARAM_LENGTH] for name, value in params.items()}


def tag_values(tags: Mapping[str, str]) -> dict[str, str]:
    """Return tags with the prefix ``distune.``; names that start with ``distune.`` or ``mlflow.`` stay as they are."""
    named = {
        name if name.startswith(("distune.", "mlflow.")) else f"distune.{name}": text for name, text in tags.items()
    }
    return {name_text(name): str(text)[:MAX_TAG_LENGTH] for name, text in named.items()}


def start_tags(event: TrialStarted) -> dict[str, str]:
    """Return the tags of a running trial."""
    return {
        "state": TrialState.RUNNING.value,
        "outcome": Outcome.RUNNING.value,
        "control": str(event.control).lower(),
        "seed": str(event.seed),
        "num_epochs": str(event.num_epochs),
        "kind": "search",
        **event.tags,
    }


def end_tags(record: TrialRecord) -> dict[str, str]:
    """Return the tags of a trial that ended or was interrupted.

    Reason and warnings are empty where there are none: those of an earlier attempt under the same run are replaced.
    """
    tags = {
        "state": record.state.value,
        "outcome": record.outcome.value,
        "control": str(record.control).lower(),
        "seed": str(record.seed),
        "epochs": str(record.epochs),
        "reason": record.reason or "",
        "warnings": "\n".join(record.warnings.values()),
    }
    if record.rung is not None:
        tags["rung"] = str(record.rung)
    return tags


def run_status(outcome: Outcome) -> str:
    """Return MLflow's status of an outcome."""
    return _RUN_STATUS[outcome]
