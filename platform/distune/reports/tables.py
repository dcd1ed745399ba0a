"""Tables of a study as plain values: rows for a terminal, a page or a program to show."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from distune.records import Outcome, ParameterValue, TrialRecord, control_score


@dataclasses.dataclass(frozen=True)
class TrialRow:
    """A line of the table of trials, as text.

    ``gain`` is against the control. It is empty where there is none, and for trials that have not had the whole budget:
    a trial that was stopped early is not worse than the control because it was stopped.
    """

    trial: str
    outcome: str
    epochs: str
    score: str
    gain: str
    params: str


def trial_rows(trials: Sequence[TrialRecord], metric: str) -> list[TrialRow]:
    """The table of trials: controls first, then the rest from best to worst, trials without a value last."""
    base = control_score(trials, metric)

    def rank(trial: TrialRecord) -> tuple[bool, float, int]:
        value = trial.metrics.get(metric, -math.inf)
        return (not trial.control, -value if math.isfinite(value) else math.inf, trial.number)

    return [_row(trial, metric, base) for trial in sorted(trials, key=rank)]


def show_params(params: dict[str, ParameterValue]) -> str:
    """Parameters in one line, by the last two words of their paths."""
    return "  ".join(f"{short_name(path)}={show_value(value)}" for path, value in params.items())


def short_name(path: str) -> str:
    """The last two words of a dotted path."""
    return ".".join(path.split(".")[-2:]).removeprefix("distillation.")


def show_value(value: ParameterValue) -> str:
    """A value as a person would write it, numbers with three significant digits."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _row(trial: TrialRecord, metric: str, base: float | None) -> TrialRow:
    value = trial.metrics.get(metric)
    score = value if value is not None and math.isfinite(value) else None
    is_comparable = trial.outcome is Outcome.FINISHED and not trial.control
    gain = score - base if score is not None and base is not None and is_comparable else None
    outcome = str(trial.outcome) if trial.reason is None else f"{trial.outcome}: {trial.reason}"
    return TrialRow(
        trial=trial.key,
        outcome=outcome,
        epochs=str(trial.epochs),
        score="" if score is None else f"{score:.1f}",
        gain="" if gain is None else f"{gain:+.1f}",
        params=show_params(trial.params),
    )
