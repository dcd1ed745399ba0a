"""The table of trials as rows of text."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from rich.table import Table

from distune.config.format_value import format_value
from distune.records import ParameterValue, TrialRecord, control_score, gain_over


@dataclasses.dataclass(frozen=True)
class TrialRow:
    """A row of the table of trials.

    ``gain`` is over the mean control. It is empty without a control, and for trials that did not train for the whole
    budget: a trial that was stopped early cannot be compared with the control.
    """

    trial: str
    outcome: str
    epochs: str
    score: str
    gain: str
    params: str


def trial_rows(trials: Sequence[TrialRecord], metric: str) -> list[TrialRow]:
    """Return the rows: controls first, then the trials from best to worst, trials without a value last."""
    base = control_score(trials, metric)

    def rank(trial: TrialRecord) -> tuple[bool, float, int]:
        value = trial.metrics.get(metric, -math.inf)
        return (not trial.control, -value if math.isfinite(value) else math.inf, trial.number)

    return [_row(trial, metric, base) for trial in sorted(trials, key=rank)]


def show_params(params: dict[str, ParameterValue]) -> str:
    """Return parameters in one line, with short names."""
    return "  ".join(f"{short_name(path)}={format_value(value, digits=3)}" for path, value in params.items())


def trial_table(rows: Sequence[TrialRow], metric: str, *, title: str | None = None, with_params: bool = False) -> Table:
    """Return the table of trials for a terminal."""
    table = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    table.add_column("trial")
    table.add_column("outcome")
    table.add_column("epochs", justify="right")
    table.add_column(metric, justify="right")
    table.add_column("gain", justify="right")
    if with_params:
        table.add_column("parameters", overflow="fold")
    for row in rows:
        style = {"finished": "", "running": "cyan", "stopped": "dim"}.get(row.outcome, "red")
        cells = [row.trial, row.outcome, row.epochs, row.score, row.gain]
        table.add_row(*cells, *([row.params] if with_params else []), style=style)
    return table


def short_name(path: str) -> str:
    """Return the last two words of a dotted path."""
    return ".".join(path.split(".")[-2:]).removeprefix("distillation.")


def _row(trial: TrialRecord, metric: str, base: float | None) -> TrialRow:
    value = trial.metrics.get(metric)
    score = value if value is not None and math.isfinite(value) else None
    gain = gain_over(base, trial, metric)
    outcome = str(trial.outcome) if trial.reason is None else f"{trial.outcome}: {trial.reason}"
    return TrialRow(
        trial=trial.key,
        outcome=outcome,
        epochs=str(trial.epochs),
        score="" if score is None else f"{score:.1f}",
        gain="" if gain is None else f"{gain:+.1f}",
        params=show_params(trial.params),
    )
