"""The view and the description of a study for its tracker, from its settings and its status."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from distune.config.load import LoadedExperiment
from distune.config.metric_names import cost_names
from distune.errors import StudyError
from distune.records import ParameterValue, TrialRecord
from distune.reports.study_note import NoteContent, study_note
from distune.study.search.stored_trial import StoredTrial
from distune.study.status import StudyStatus, best_trial
from distune.tracking.run_names import short_names
from distune.tracking.study_view import StudyView
from distune.tracking.uris import redact_uri


@dataclasses.dataclass(frozen=True)
class StudyDescription:
    """The result of a study in a sentence, and its description in Markdown."""

    headline: str
    note: str


def study_view(loaded: LoadedExperiment, trials: Iterable[StoredTrial | TrialRecord] = ()) -> StudyView:
    """Return the view of a study in MLflow.

    Args:
        loaded: the experiment and its space.
        trials: so far; parameters that they have searched are shown as well, also when they are fixed now.

    Returns:
        The view.
    """
    values: dict[str, set[tuple[type, ParameterValue]]] = {}
    for trial in trials:
        for path, value in trial.params.items():
            values.setdefault(path, set()).add((type(value), value))
    searched = [*loaded.searched, *(path for path, found in values.items() if len(found) > 1)]
    paths = list(dict.fromkeys([*loaded.space.parameters, *searched]))
    return StudyView(
        metric=loaded.experiment.search.metric,
        params=tuple(path for path in paths if path in searched),
        names=dict(zip(paths, short_names(paths), strict=True)),
        costs=cost_names(loaded.experiment),
    )


def describe_results(status: StudyStatus, loaded: LoadedExperiment) -> StudyDescription:
    """Describe the results of a study.

    Args:
        status: of the study.
        loaded: the experiment and its space.

    Returns:
        The result in a sentence, and the description; without secrets of addresses.
    """
    headline, view = _headline(status), study_view(loaded, status.trials)
    content = NoteContent(
        study=status.study,
        headline=headline,
        details=_details(status),
        trials=status.trials,
        metric=status.metric,
        names={path: view.names[path] for path in view.params},
        teacher=None if status.teacher_unknown else status.teacher_value,
        commands=_commands(status),
    )
    return StudyDescription(redact_uri(headline), redact_uri(study_note(content)))


def _headline(status: StudyStatus) -> str:
    simulated = "simulated, nothing was trained: " if status.simulated else ""
    result = status.confirmation
    if result is not None:
        return f"{simulated}trial {result.winner}, confirmed on the {result.split} split: {result.summary}"
    try:
        winner, gain = best_trial(status)
    except StudyError:
        return f"{simulated}no trial has finished" + (f": {status.reason}" if status.state == "failed" else "")
    score = f"{simulated}best trial {winner.key}: {status.metric} {winner.metrics[status.metric]:.1f}"
    if gain is None:
        return f"{score}; gain unknown, no control has finished; not confirmed"
    num_controls = sum(trial.control for trial in status.trials)
    controls = "one control" if num_controls == 1 else f"{num_controls} controls"
    return f"{score}, gain {gain:+.1f}; not confirmed: one seed, {controls}"


def _details(status: StudyStatus) -> list[str]:
    details = []
    if status.state != "finished":
        details.append(f"The study is {status.state}.")
    elif status.reason is not None:
        details.append(f"Fewer trials than asked for: {status.reason}.")
    if status.teacher_unknown and status.teacher_line is not None:  # beside the others it would be another score
        details.append(f"{status.teacher_line[:1].upper()}{status.teacher_line[1:]}.")
    result = status.confirmation
    if result is not None:
        gain = result.gain
        details.append(
            f"Mean over the seeds, {result.split} split: student {gain.student:.1f} {result.metric}, "
            f"control {gain.control:.1f}."
        )
    return details


def _commands(status: StudyStatus) -> list[str]:
    continued = ["resume"] if status.state in ("interrupted", "failed") else []
    return [*continued, "best", "confirm"] if status.confirmation is None else [*continued, "best"]
