"""Proposes the configuration of the next trial: the initial ones, then the sampler's, none of them twice."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import optuna

from distune.config.conditions import Chosen, is_active
from distune.config.search import RandomSettings, SamplerSettings
from distune.config.space import Parameter
from distune.records import ParameterValue
from distune.study.search.initial_configurations import DEFAULTS_ORIGIN, InitialConfiguration
from distune.study.search.sampler_state import check_sampler_states
from distune.study.search.samplers import build_sampler, distribution_of, seed_of
from distune.study.search.stored_trial import StoredTrial
from distune.study.search.trial_attributes import ORIGIN, PROPOSED, REQUESTED, read_attribute
from distune.study.search.trial_store import TrialStore
from distune.study.search.tried_configurations import TriedConfigurations

_SAMPLER_ATTEMPTS, _RANDOM_ATTEMPTS = 10, 100
"""Proposals that may be rejected as repeats: the sampler's own, then random ones."""


class TrialProposer:
    """Starts the searched trials of a study and chooses their values.

    Args:
        trial_store: records of the study's trials.
        searched: path to parameter, parents before children.
        sampler: settings of the sampler.
        initial: configurations to try first; those that an earlier session has enqueued are skipped.
        on_message: receives messages for the user.

    Raises:
        StudyError: the sampler has a state in Optuna's records that could run a program.
    """

    def __init__(
        self,
        trial_store: TrialStore,
        *,
        searched: Mapping[str, Parameter],
        sampler: SamplerSettings,
        initial: Iterable[InitialConfiguration] = (),
        on_message: Callable[[str], None],
    ) -> None:
        self._trial_store, self._searched, self._sampler = trial_store, searched, sampler
        self._on_message = on_message
        if sampler.kind == "cmaes":
            check_sampler_states(trial_store.search_study.study_name, self._recorded())
        self._has_conditions = any(parameter.when for parameter in searched.values())
        self._tried = TriedConfigurations(searched, (trial.params for trial in self._recorded()))
        self._initial = deque(each for each in initial if not self._is_recorded(each))

    def ask(self, index: int) -> tuple[int, dict[str, ParameterValue]] | None:
        """Start the next searched trial.

        Args:
            index: number of searched trials that were started before.

        Returns:
            Its number, and path to value; None when all configurations of the space were tried.
        """
        self._enqueue_initial()
        if self._tried.is_exhausted:
            return None
        number = self._trial_store.start_trial()
        return number, self._choose(number, index)

    def complete_params(self, trial: StoredTrial) -> dict[str, ParameterValue]:
        """Return the values of a trial of an earlier session; missing ones are chosen now."""
        if trial.number < 0 or is_complete(trial.params, self._searched):
            return trial.params
        return self._choose(trial.number, trial.number)

    def _recorded(self, *states: optuna.trial.TrialState) -> list[optuna.trial.FrozenTrial]:
        return self._trial_store.search_study.get_trials(deepcopy=False, states=states or None)

    def _is_recorded(self, configuration: InitialConfiguration) -> bool:
        """Return whether an initial configuration was enqueued before, tried or waiting.

        The experiment's own values are tried once, even when a change of the space has changed them since. Others are
        recognized by their values, because their position in the settings may change.
        """
        if configuration.origin == DEFAULTS_ORIGIN:
            return any(read_attribute(trial.user_attrs, ORIGIN) == DEFAULTS_ORIGIN for trial in self._recorded())
        return self._is_requested(configuration.values)

    def _is_requested(self, values: Chosen) -> bool:
        return any(read_attribute(trial.user_attrs, REQUESTED) == dict(values) for trial in self._recorded())

    def _enqueue_initial(self) -> None:
        """Enqueue the next initial configuration, unless one waits: Optuna gets none that may never run."""
        while self._initial and not self._recorded(optuna.trial.TrialState.WAITING):
            origin, values, messages = self._initial.popleft()
            if values and (self._is_requested(values) or values in self._tried or self._tried.untried(values) == []):
                messages = [f"{origin}: these values have been tried already"]
            elif values:
                self._trial_store.enqueue(values, origin)
            for message in messages:
                self._on_message(message)

    def _choose(self, number: int, index: int) -> dict[str, ParameterValue]:
        """Choose the values of a trial and record them."""
        trial = self._trial_store.read(number)
        chosen: dict[str, ParameterValue] = read_attribute(trial.user_attrs, PROPOSED, {})
        if not chosen or not all(self._searched[path].contains(value) for path, value in chosen.items()):
            chosen, repeats = self._new_proposal(trial, index)
            # The proposal is recorded as a whole, before its values: a session that resumes after a crash finishes it.
            self._trial_store.record_proposal(number, chosen, repeats_avoided=repeats)
        self._trial_store.record_params(number, chosen, self._searched)
        self._tried.add(chosen)
        return chosen

    def _new_proposal(self, trial: optuna.trial.FrozenTrial, index: int) -> tuple[dict[str, ParameterValue], int]:
        """Return values that no other trial has, and the number of proposals that were rejected for them."""
        self._trial_store.clear_drawn(trial.number)
        requested = read_attribute(trial.user_attrs, REQUESTED, {})
        if requested and self._tried.untried(requested) == []:
            requested = {}
        for attempt in range(_SAMPLER_ATTEMPTS + _RANDOM_ATTEMPTS):
            chosen = self._sample(trial, index, attempt, requested)
            if chosen not in self._tried:
                return chosen, attempt
        return self._any_untried(trial, index, requested) or chosen, _SAMPLER_ATTEMPTS + _RANDOM_ATTEMPTS

    def _sample(
        self, trial: optuna.trial.FrozenTrial, index: int, attempt: int, requested: Chosen
    ) -> dict[str, ParameterValue]:
        is_random = attempt >= _SAMPLER_ATTEMPTS
        settings = RandomSettings(kind="random", seed=self._sampler.seed) if is_random else self._sampler
        study = self._trial_store.search_study
        study.sampler = build_sampler(settings, index, attempt=attempt, has_conditions=self._has_conditions)
        return sample_params(study, trial, self._searched, requested)

    def _any_untried(
        self, trial: optuna.trial.FrozenTrial, index: int, requested: Chosen
    ) -> dict[str, ParameterValue] | None:
        untried = self._tried.untried({**requested, **trial.params})
        if not untried:
            return None
        random = np.random.default_rng(seed_of(self._sampler, index, _SAMPLER_ATTEMPTS + _RANDOM_ATTEMPTS))
        return untried[int(random.integers(len(untried)))]


def sample_params(
    study: optuna.Study, trial: optuna.trial.FrozenTrial, searched: Mapping[str, Parameter], requested: Chosen
) -> dict[str, ParameterValue]:
    """Return values for all active parameters, as ``optuna.Trial`` would get them from the study's sampler.

    ``optuna.Trial`` records each value when it is suggested. This function records nothing, so that a proposal that
    repeats an earlier configuration can be rejected.

    Args:
        study: with its sampler.
        trial: RUNNING; values that it already has are kept.
        searched: path to parameter, parents before children.
        requested: values to use; those that are not in the space are left to the sampler.

    Returns:
        Path to value, in the order of ``searched``.
    """
    sampler = study.sampler
    sampler.before_trial(study, trial)
    # Called even when all values are requested: this puts the trial into a generation of CMA-ES or NSGA-II, and they
    # use no trial outside a generation.
    relative = sampler.sample_relative(study, trial, sampler.infer_relative_search_space(study, trial))
    chosen: dict[str, ParameterValue] = {}
    for path, parameter in searched.items():
        if not is_active(parameter, chosen):
            continue
        if path in requested and parameter.contains(requested[path]):
            chosen[path] = requested[path]
        elif len(parameter.extremes) == 1:
            chosen[path] = parameter.extremes[0]
        elif path in relative and parameter.contains(relative[path]):
            chosen[path] = relative[path]
        else:
            chosen[path] = sampler.sample_independent(study, trial, path, distribution_of(parameter))
        if path in trial.params:
            # The drawn value is discarded, but drawing it keeps the values that follow the same.
            chosen[path] = trial.params[path]
    return chosen


def is_complete(params: Chosen, searched: Mapping[str, Parameter]) -> bool:
    """Return whether ``params`` has a value for every parameter that is active under its values."""
    return all(path in params for path, parameter in searched.items() if is_active(parameter, params))
