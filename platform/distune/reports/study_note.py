"""The description of a study in MLflow: its result in a sentence, its best trials, and the commands to continue."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence

from distune.config.format_value import format_value
from distune.records import Outcome, TrialRecord, control_score, gain_over
from distune.tracking.note import escape_markdown, markdown_table

_NUM_TRIALS = 5
_NUM_PARAMS = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoteContent:
    """The content of the description of a study.

    Attributes:
        study: its name.
        headline: its result in a sentence.
        details: further sentences.
        trials: all trials.
        metric: of the study, such as ``search/AP``.
        names: path to short name of the parameters that are shown.
        teacher: the teacher's metric, None if it is not known.
        commands: commands of distune that continue, without the name of the study.
    """

    study: str
    headline: str
    details: Sequence[str]
    trials: Sequence[TrialRecord]
    metric: str
    names: Mapping[str, str]
    teacher: float | None
    commands: Sequence[str]


def study_note(content: NoteContent) -> str:
    """Return the description of a study in Markdown; text of users is escaped."""
    lines = [f"**{escape_markdown(content.headline)}**", ""]
    if content.details:
        lines += [escape_markdown(" ".join(content.details)), ""]
    rows = _rows(content)
    if rows:
        header = ["trial", content.metric, "gain", "epochs", *_shown_names(content).values()]
        lines += [*markdown_table(header, rows), ""]
    commands = [f"distune {command} {shlex.quote(content.study)}" for command in content.commands]
    return "\n".join([*lines, "```", *commands, "```"])


def _rows(content: NoteContent) -> list[list[str]]:
    """Return the best finished trials, then controls and teacher."""
    metric, control = content.metric, control_score(content.trials, content.metric)
    finished = [trial for trial in content.trials if trial.outcome is Outcome.FINISHED and metric in trial.metrics]
    searched = sorted((each for each in finished if not each.control), key=lambda each: -each.metrics[metric])
    shown = [*searched[:_NUM_TRIALS], *(each for each in finished if each.control)]
    paths = _shown_names(content)
    rows = []
    for trial in shown:
        gain = gain_over(control, trial, metric)
        params = [format_value(trial.params[path], digits=3) if path in trial.params else "" for path in paths]
        score, shown_gain = f"{trial.metrics[metric]:.1f}", "" if gain is None else f"{gain:+.1f}"
        rows.append([trial.key, score, shown_gain, str(trial.epochs), *params])
    if content.teacher is not None:
        rows.append(["teacher", f"{content.teacher:.1f}", "", "", *[""] * len(paths)])
    return rows


def _shown_names(content: NoteContent) -> dict[str, str]:
    return dict(list(content.names.items())[:_NUM_PARAMS])
