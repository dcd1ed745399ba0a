"""What a sampler proposes for a trial, before any of it is on record."""

from __future__ import annotations

from collections.abc import Mapping

import optuna

from distune.config.conditions import Chosen, is_active
from distune.config.space import Parameter
from distune.records import ParameterValue
from distune.study.search.samplers import distribution_of


def propose(
    study: optuna.Study, trial: optuna.trial.FrozenTrial, searched: Mapping[str, Parameter], given: Chosen
) -> dict[str, ParameterValue]:
    """Values for all parameters that act, chosen by the study's sampler as ``optuna.Trial`` would let it.

    ``optuna.Trial`` puts each value on record as it is suggested. Here none is, so that a proposal which repeats a
    known configuration can be dropped.

    Args:
        study: with its sampler.
        trial: RUNNING; the values that it has already stay.
        searched: what may be chosen, parents before children.
        given: values that are wanted; those that are not in the space are left to the sampler.

    Returns:
        Path to value, in the order of ``searched``.
    """
    sampler = study.sampler
    sampler.before_trial(study, trial)
    # Asked of even when all is given: in here CMA-ES and NSGA-II put the trial into a generation, and they learn from
    # no trial that is in none.
    relative = sampler.sample_relative(study, trial, sampler.infer_relative_search_space(study, trial))
    chosen: dict[str, ParameterValue] = {}
    for path, parameter in searched.items():
        if not is_active(parameter, chosen):
            continue
        if path in given and parameter.contains(given[path]):
            chosen[path] = given[path]
        elif len(parameter.extremes) == 1:
            chosen[path] = parameter.extremes[0]
        elif path in relative and parameter.contains(relative[path]):
            chosen[path] = relative[path]
        else:
            chosen[path] = sampler.sample_independent(study, trial, path, distribution_of(parameter))
        if path in trial.params:
            # Drawn all the same and dropped: the values that follow are then those that would have followed.
            chosen[path] = trial.params[path]
    return chosen


def is_complete(params: Chosen, searched: Mapping[str, Parameter]) -> bool:
    """Whether a trial has a value for every parameter that acts under its values."""
    return all(path in params for path, parameter in searched.items() if is_active(parameter, params))
