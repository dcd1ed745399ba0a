"""distune's names and values in the form that MLflow accepts. Pure functions."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from distune.records import Outcome, ParameterValue, TrialState
from distune.tracking.events import TrialEnded, TrialStarted

MAX_NAME_LENGTH = 250
MAX_PARAM_LENGTH = 6000
MAX_TAG_LENGTH = 5000

_NOT_ALLOWED = re.compile(r"[^\w.\- /]")
_BEST_FROM = "search/"
_KEPT_AT_THE_END = ("gain/", "test/", "best/", "confirm/")
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
    """A name of a metric, param or tag that MLflow takes: ``AP[person]`` becomes ``AP_person``.

    MLflow allows letters, digits and ``_ - . space /``, up to 250 of them, and wants names to be plain relative paths.
    (It allows ``:`` as well, but not on Windows.)
    """
    cleaned = _NOT_ALLOWED.sub("_", name)
    if cleaned != name:
        cleaned = re.sub(r"__+", "_", cleaned).rstrip("_")
    parts = [part for part in cleaned[:MAX_NAME_LENGTH].split("/") if part.strip(" .")]
    return "/".join(parts).lstrip(".") or "_"


def metric_values(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics under names that MLflow takes; two names that become one are told apart by a number.

    Infinities become NaN: the databases behind MLflow would store the largest number instead, and no chart is
    readable with it.
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
    """The figures of a whole trial from those of its best epoch, to compare trials by.

    ``search/AP``, or ``AP`` alone, becomes ``best/AP``; gains and figures of the test split keep their names; losses,
    times and the like say nothing about a trial as a whole and are left out.
    """
    summary: dict[str, float] = {}
    for name, value in metrics.items():
        if name.startswith(_KEPT_AT_THE_END):
            summary[name] = value
        elif name.startswith(_BEST_FROM) or "/" not in name:
            summary[f"best/{name.removeprefix(_BEST_FROM)}"] = value
    return summary


def param_values(params: Mapping[str, ParameterValue]) -> dict[str, str]:
    """Params as text: the words of YAML for true, false and null, numbers in full."""
    words: dict[object, str] = {True: "true", False: "false", None: "null"}
    return {
        name_text(name): words[value] if isinstance(value, bool | None) else str(value)[:MAX_PARAM_LENGTH]
        for name, value in params.items()
    }


def tag_values(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags in distune's own name space; names that begin with ``distune.`` or ``mlflow.`` stay as they are."""
    named = {
        name if name.startswith(("distune.", "mlflow.")) else f"distune.{name}": text for name, text in tags.items()
    }
    return {name_text(name): str(text)[:MAX_TAG_LENGTH] for name, text in named.items()}


def start_tags(event: TrialStarted) -> dict[str, str]:
    """The tags of a trial that runs."""
    return {
        "state": TrialState.RUNNING.value,
        "outcome": Outcome.RUNNING.value,
        "control": str(event.control).lower(),
        "seed": str(event.seed),
        "num_epochs": str(event.num_epochs),
        "kind": "search",
        **event.tags,
    }


def end_tags(event: TrialEnded) -> dict[str, str]:
    """The tags of a trial that ended or was interrupted."""
    tags = {
        "state": event.state,
        "outcome": event.outcome,
        "control": str(event.control).lower(),
        "seed": str(event.seed),
        "epochs": str(event.epochs),
    }
    if event.rung is not None:
        tags["rung"] = str(event.rung)
    return tags if event.reason is None else {**tags, "reason": event.reason}


def run_status(outcome: str) -> str:
    """MLflow's word for an ``Outcome``; ``FAILED`` for one that is not known."""
    return _RUN_STATUS.get(Outcome(outcome), "FAILED") if outcome in set(Outcome) else "FAILED"
