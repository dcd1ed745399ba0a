"""Starts a study with the best configurations of another one, without their scores: docs/decisions/warm_start.md."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from distune.config.conditions import is_active
from distune.config.format_value import format_value
from distune.config.load import LoadedExperiment
from distune.config.metric_names import metric_name
from distune.config.renamed import current_values
from distune.config.space import Parameter
from distune.records import Outcome, ParameterValue, TrialRecord
from distune.study.files.settings_diff import describe_parameter
from distune.study.search.tried_configurations import signature
from distune.study.status import StudyStatus


@dataclasses.dataclass(frozen=True, kw_only=True)
class WarmStart:
    """Configurations that one study takes from another.

    Attributes:
        configurations: values to try first, best trial first; the sampler chooses missing ones.
        messages: for the user: how far the two search spaces overlap.
    """

    configurations: list[dict[str, ParameterValue]]
    messages: list[str]


def warm_start(
    source: StudyStatus, source_loaded: LoadedExperiment, target: LoadedExperiment, *, top: int
) -> WarmStart:
    """Take the values of the best finished trials, as far as they are in the space of the new study.

    Args:
        source: status of the study to take from.
        source_loaded: its experiment and space.
        target: the experiment to launch.
        top: maximum number of trials.

    Returns:
        The configurations, without duplicates.
    """
    finished = [trial for trial in source.trials if trial.outcome is Outcome.FINISHED and not trial.control]
    ranked = sorted(finished, key=lambda trial: -trial.metrics[source.metric])[:top]
    fixed = source_loaded.experiment.search.fixed
    taken = [_taken(current_values({**fixed, **trial.params}), target.searched) for trial in ranked]
    distinct = {signature(values): values for values in taken if values}
    return WarmStart(
        configurations=list(distinct.values()),
        messages=[
            *_overlap(source, source_loaded, target.searched),
            *_other_metric(source, metric_name(target.experiment)),
            f"warm start: {len(distinct)} configurations of {source.study} are tried first, without their scores "
            f"({_num_inside(ranked, taken)} of its {len(ranked)} best finished trials are in the space)",
        ],
    )


def with_initial_configurations(
    loaded: LoadedExperiment, configurations: Iterable[Mapping[str, ParameterValue]]
) -> LoadedExperiment:
    """Return the experiment with these configurations added to those that are tried first."""
    search = loaded.experiment.search
    combined = [*search.initial_configurations, *(dict(values) for values in configurations)]
    experiment = loaded.experiment.model_copy(
        update={"search": search.model_copy(update={"initial_configurations": combined})}
    )
    return dataclasses.replace(loaded, experiment=experiment)


def _other_metric(source: StudyStatus, metric: str) -> list[str]:
    if source.metric == metric:
        return []
    return [
        f"warm start: the best trials of {source.study} are the best by {source.metric}; this study maximizes {metric}"
    ]


def _taken(source: Mapping[str, ParameterValue], searched: Mapping[str, Parameter]) -> dict[str, ParameterValue]:
    values: dict[str, ParameterValue] = {}
    for path, parameter in searched.items():
        if path in source and is_active(parameter, values) and parameter.contains(source[path]):
            values[path] = source[path]
    return values


def _num_inside(ranked: list[TrialRecord], taken: list[dict[str, ParameterValue]]) -> int:
    return sum(set(current_values(trial.params)) <= set(values) for trial, values in zip(ranked, taken, strict=True))


def _overlap(source: StudyStatus, source_loaded: LoadedExperiment, new: Mapping[str, Parameter]) -> list[str]:
    old, fixed = source_loaded.searched, source_loaded.experiment.search.fixed
    shared = [path for path in new if path in old]
    lines = [f"warm start: {len(shared)} of {len(new)} parameters are searched in study {source.study} too"]
    lines += [
        f"warm start: {path} was {describe_parameter(old[path])}, is {describe_parameter(new[path])}"
        for path in shared
        if old[path] != new[path]
    ]
    for path in (each for each in new if each not in old):
        if path in fixed and new[path].contains(fixed[path]):
            lines.append(f"warm start: {path} was fixed; {format_value(fixed[path])} is used")
        else:
            lines.append(f"warm start: {path} is new; the sampler chooses it")
    lines += [f"warm start: {path} is not searched here" for path in old if path not in new]
    return lines
