"""Starts a study with the best configurations of another one. Scores are not carried: docs/decisions/warm_start.md."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from distune.config.conditions import is_active
from distune.config.load import LoadedExperiment
from distune.config.space import Parameter
from distune.records import Outcome, ParameterValue, TrialRecord
from distune.study.files.settings_diff import describe_parameter
from distune.study.metric_names import metric_name
from distune.study.search.tried_configurations import signature
from distune.study.status import StudyStatus


@dataclasses.dataclass(frozen=True, kw_only=True)
class WarmStart:
    """What one study takes over from another.

    Attributes:
        configurations: values to try first, from the best trial on; what is missing is chosen by the sampler.
        lines: in words, how far the two search spaces overlap.
    """

    configurations: list[dict[str, ParameterValue]]
    lines: list[str]


def warm_start(
    source: StudyStatus, source_loaded: LoadedExperiment, target: LoadedExperiment, *, top: int
) -> WarmStart:
    """Take over the values of the best finished trials, as far as the target's space has them.

    Args:
        source: the study to take from, as it stands.
        source_loaded: its experiment and space.
        target: the experiment that is to be launched.
        top: how many trials at most.
    """
    finished = [trial for trial in source.trials if trial.outcome is Outcome.FINISHED and not trial.control]
    ranked = sorted(finished, key=lambda trial: -trial.metrics[source.metric])[:top]
    fixed = source_loaded.experiment.search.fixed
    taken = [_taken({**fixed, **trial.params}, target.searched) for trial in ranked]
    distinct = {signature(values): values for values in taken if values}
    return WarmStart(
        configurations=list(distinct.values()),
        lines=[
            *_overlap(source, source_loaded, target.searched),
            *_other_metric(source, metric_name(target.experiment)),
            f"warm start: {len(distinct)} configurations of {source.study} are tried first; their scores are not taken "
            f"over ({_whole(ranked, taken)} of its {len(ranked)} best finished trials lie within the space)",
        ],
    )


def with_first(loaded: LoadedExperiment, configurations: Iterable[Mapping[str, ParameterValue]]) -> LoadedExperiment:
    """The same experiment, with these configurations to be tried before the sampler's."""
    search = loaded.experiment.search
    first = [*search.first, *(dict(values) for values in configurations)]
    experiment = loaded.experiment.model_copy(update={"search": search.model_copy(update={"first": first})})
    return dataclasses.replace(loaded, experiment=experiment)


def _other_metric(source: StudyStatus, metric: str) -> list[str]:
    if source.metric == metric:
        return []
    return [
        f"warm start: the best trials of {source.study} are those by {source.metric}, this study maximises {metric}"
    ]


def _taken(source: Mapping[str, ParameterValue], searched: Mapping[str, Parameter]) -> dict[str, ParameterValue]:
    values: dict[str, ParameterValue] = {}
    for path, parameter in searched.items():
        if path in source and is_active(parameter, values) and parameter.contains(source[path]):
            values[path] = source[path]
    return values


def _whole(ranked: list[TrialRecord], taken: list[dict[str, ParameterValue]]) -> int:
    return sum(set(trial.params) <= set(values) for trial, values in zip(ranked, taken, strict=True))


def _overlap(source: StudyStatus, source_loaded: LoadedExperiment, new: Mapping[str, Parameter]) -> list[str]:
    old, fixed = source_loaded.searched, source_loaded.experiment.search.fixed
    shared = [path for path in new if path in old]
    lines = [f"warm start: {len(shared)} of {len(new)} parameters vary in study {source.study} as well"]
    lines += [
        f"warm start: {path} was {describe_parameter(old[path])}, is {describe_parameter(new[path])}"
        for path in shared
        if old[path] != new[path]
    ]
    for path in (each for each in new if each not in old):
        if path in fixed and new[path].contains(fixed[path]):
            lines.append(f"warm start: {path} was fixed, {fixed[path]} is taken over")
        else:
            lines.append(f"warm start: {path} is new, the sampler chooses it")
    lines += [f"warm start: {path} does not vary here" for path in old if path not in new]
    return lines
