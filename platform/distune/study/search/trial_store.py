"""The trials of a study on record in Optuna, controls included, under distune's numbers.

Searched trials have their Optuna number; the control with Optuna number n, in a study of its own, is trial ``-1 - n``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna

from distune.config.conditions import Chosen
from distune.config.search import RandomSettings, SamplerSettings
from distune.config.space import Parameter
from distune.records import Outcome, ParameterValue, TrialState
from distune.study.failures.retries import Retry
from distune.study.search.initial_configurations import OWN_VALUES
from distune.study.search.sampler_proposals import is_complete, propose
from distune.study.search.samplers import build_sampler, distribution_of, seed_of
from distune.study.search.tried_configurations import TriedConfigurations

_OUTCOME, _REASON, _RETRIES = "outcome", "reason", "retries"
_OLD_RETRIES = "setbacks"
"""Name of the attribute in studies of earlier versions."""
_ORIGIN, _GIVEN = "origin", "given"
_PROPOSAL, _REPEATS = "proposal", "repeats_avoided"
_DRAWN = ":relative_params:"
"""In the names under which Optuna's samplers keep what they have drawn for a trial."""

_SAMPLER_ATTEMPTS, _RANDOM_ATTEMPTS = 10, 100
"""So many proposals that repeat a known configuration are dropped: the sampler's own, then random ones."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class KnownTrial:
    """A trial as Optuna remembers it.

    Attributes:
        number: distune's number.
        state: Optuna's state.
        ending: how the trial ends, written before the state is. A RUNNING trial that has one was cut off while ending.
        reason: why it failed or diverged.
        params: searched path to value, as far as they were chosen.
        origin: where its values come from, None when the sampler has proposed them.
        scores: epoch to the study's metric; NaN for the epoch in which the trial diverged.
        retries: failures after which it was tried again.
        ended_at: seconds since 1970, None as long as it has not ended.
    """

    number: int
    state: TrialState
    ending: Outcome | None
    reason: str | None
    params: dict[str, ParameterValue]
    scores: dict[int, float]
    retries: tuple[Retry, ...] = ()
    ended_at: float | None = None
    origin: str | None = None

    @property
    def outcome(self) -> Outcome:
        """How the trial stands when nobody works on it."""
        if self.state is TrialState.PRUNED:
            return Outcome.DIVERGED if any(math.isnan(score) for score in self.scores.values()) else Outcome.STOPPED
        return {
            TrialState.WAITING: Outcome.WAITING,
            TrialState.RUNNING: Outcome.INTERRUPTED,
            TrialState.COMPLETE: Outcome.FINISHED,
            TrialState.FAIL: Outcome.FAILED,
        }[self.state]


def known_trials(search_study: optuna.Study, control_study: optuna.Study) -> list[KnownTrial]:
    """All trials on record: controls first, each kind in the order in which it was started."""
    found = [_known(-1 - trial.number, trial) for trial in control_study.get_trials(deepcopy=False)]
    return found + [_known(trial.number, trial) for trial in search_study.get_trials(deepcopy=False)]


class TrialStore:
    """Reads and writes the two Optuna studies of a study.

    Args:
        storage: where both are kept.
        search_study: the study of the searched trials.
        controls: the study of the controls.
        searched: path to parameter, parents before children; what a searched trial chooses.
        sampler: who chooses.
    """

    def __init__(
        self,
        storage: optuna.storages.BaseStorage,
        search_study: optuna.Study,
        control_study: optuna.Study,
        *,
        searched: Mapping[str, Parameter],
        sampler: SamplerSettings,
    ) -> None:
        self._storage, self._search_study, self._control_study = storage, search_study, control_study
        self._varied, self._sampler = searched, sampler
        self._has_conditions = any(parameter.when for parameter in searched.values())
        self._tried = TriedConfigurations(searched, (trial.params for trial in search_study.get_trials(deepcopy=False)))
        self._study_ids = tuple(
            storage.get_study_id_from_name(study.study_name) for study in (search_study, control_study)
        )
        self._trial_ids: dict[int, int] = {}

    def known(self) -> list[KnownTrial]:
        """All trials on record, see ``known_trials``."""
        return known_trials(self._search_study, self._control_study)

    @property
    def has_waiting(self) -> bool:
        """Whether a configuration waits for the next new trial."""
        return bool(self._search_study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,)))

    def has_been_given(self, origin: str, values: Chosen) -> bool:
        """Whether a configuration to be tried first is on record, tried or waiting.

        The experiment's own values are tried once, even where the space has let them be others since. Another one is
        known by its values: its place in the settings may have been another, and hold other ones now.
        """
        attributes = [trial.user_attrs for trial in self._search_study.get_trials(deepcopy=False)]
        if origin == OWN_VALUES:
            return any(each.get(_ORIGIN) == origin for each in attributes)
        return any(each.get(_GIVEN) == dict(values) for each in attributes)

    def enqueue(self, values: Chosen, origin: str) -> bool:
        """Let the next new trial have these values; what is missing is chosen by the sampler.

        Args:
            values: path to value.
            origin: where they come from, in words.

        Returns:
            False when they are on record already, or nothing with these values is left; nothing is enqueued then.
        """
        trials = self._search_study.get_trials(deepcopy=False)
        is_known = any(trial.user_attrs.get(_GIVEN) == dict(values) for trial in trials) or self._tried.holds(values)
        if not values or is_known or self._tried.left(values) == []:
            return False
        self._search_study.enqueue_trial({}, user_attrs={_ORIGIN: origin, _GIVEN: dict(values)})
        return True

    def ask(self, index: int) -> tuple[int, dict[str, ParameterValue]] | None:
        """Start the ``index``-th searched trial. Returns its number and values, None when all have been tried."""
        if self._tried.is_exhausted:
            return None
        number = self._search_study.ask().number
        return number, self._choose(number, index)

    def ask_control(self) -> int:
        """Start a control. Returns its number."""
        return -1 - self._control_study.ask().number

    def complete_params(self, known: KnownTrial) -> dict[str, ParameterValue]:
        """The values of a trial that an earlier session started; those that it had not chosen yet are chosen now."""
        if known.number < 0 or is_complete(known.params, self._varied):
            return known.params
        return self._choose(known.number, known.number)

    def announce_ending(self, number: int, ending: Outcome, reason: str | None) -> None:
        """Put on record how a trial is about to end, so that a session cut off in between ends it the same way."""
        trial_id = self._trial_id(number)
        if reason is not None:
            self._storage.set_trial_user_attr(trial_id, _REASON, reason)
        self._storage.set_trial_user_attr(trial_id, _OUTCOME, ending.value)

    def record_retries(self, number: int, retries: Sequence[Retry]) -> None:
        """Put on record all failures so far after which a trial is tried again."""
        values = [retry.to_dict() for retry in retries]
        self._storage.set_trial_user_attr(self._trial_id(number), _RETRIES, values)

    def report(self, number: int, epoch: int, score: float) -> None:
        """Put the score of an epoch on record; NaN when the trial has diverged."""
        self._storage.set_trial_intermediate_value(self._trial_id(number), epoch, score)

    def end(self, number: int, state: TrialState, values: Sequence[float] | None) -> None:
        """End a trial; one that has ended already is left as it is.

        Args:
            number: distune's number.
            state: COMPLETE, PRUNED or FAIL.
            values: of a COMPLETE trial: its score, then what it costs when that is search_study too; None otherwise.
        """
        study, optuna_number = self._locate(number)
        told = None if values is None else list(values[: len(study.directions)])  # controls have a score alone
        study.tell(optuna_number, told, state=optuna.trial.TrialState[state.value], skip_if_finished=True)

    def _choose(self, number: int, index: int) -> dict[str, ParameterValue]:
        """Choose the values of a trial and put them on record, unless they repeat those of another trial."""
        trial_id = self._trial_id(number)
        trial = self._storage.get_trial(trial_id)
        chosen: dict[str, ParameterValue] = trial.user_attrs.get(_PROPOSAL, {})
        if not chosen or not all(self._varied[path].contains(value) for path, value in chosen.items()):
            chosen, repeats = self._new_proposal(trial, index)
            if repeats:
                self._storage.set_trial_user_attr(trial_id, _REPEATS, repeats)
            # As a whole and before its values: what a session that is cut off in between has begun, the next one ends.
            self._storage.set_trial_user_attr(trial_id, _PROPOSAL, chosen)
        for path, value in chosen.items():
            if path not in trial.params:
                distribution = distribution_of(self._varied[path])
                self._storage.set_trial_param(trial_id, path, distribution.to_internal_repr(value), distribution)
        self._tried.add(chosen)
        return chosen

    def _new_proposal(self, trial: optuna.trial.FrozenTrial, index: int) -> tuple[dict[str, ParameterValue], int]:
        """Values that no other trial has, and how many proposals were dropped for them."""
        self._forget_drawn(trial)
        given = trial.user_attrs.get(_GIVEN, {})
        if given and self._tried.left(given) == []:
            given = {}
        for attempt in range(_SAMPLER_ATTEMPTS + _RANDOM_ATTEMPTS):
            chosen = self._propose(trial, index, attempt, given)
            if not self._tried.holds(chosen):
                return chosen, attempt
        return self._any_left(trial, index, given) or chosen, _SAMPLER_ATTEMPTS + _RANDOM_ATTEMPTS

    def _forget_drawn(self, trial: optuna.trial.FrozenTrial) -> None:
        """GP keeps away from what was drawn for running trials: for this one, by a session that was cut off."""
        for name in trial.system_attrs:
            if _DRAWN in name:
                self._storage.set_trial_system_attr(self._trial_id(trial.number), name, "")

    def _propose(
        self, trial: optuna.trial.FrozenTrial, index: int, attempt: int, given: Chosen
    ) -> dict[str, ParameterValue]:
        is_random = attempt >= _SAMPLER_ATTEMPTS
        settings = RandomSettings(kind="random", seed=self._sampler.seed) if is_random else self._sampler
        self._search_study.sampler = build_sampler(
            settings, index, attempt=attempt, has_conditions=self._has_conditions
        )
        return propose(self._search_study, trial, self._varied, given)

    def _any_left(self, trial: optuna.trial.FrozenTrial, index: int, given: Chosen) -> dict[str, ParameterValue] | None:
        left = self._tried.left({**given, **trial.params})
        if not left:
            return None
        random = np.random.default_rng(seed_of(self._sampler, index, _SAMPLER_ATTEMPTS + _RANDOM_ATTEMPTS))
        return left[int(random.integers(len(left)))]

    def _locate(self, number: int) -> tuple[optuna.Study, int]:
        return (self._control_study, -1 - number) if number < 0 else (self._search_study, number)

    def _trial_id(self, number: int) -> int:
        if number not in self._trial_ids:
            optuna_number = self._locate(number)[1]
            study_id = self._study_ids[1 if number < 0 else 0]
            self._trial_ids[number] = self._storage.get_trial_id_from_study_id_trial_number(study_id, optuna_number)
        return self._trial_ids[number]


def _known(number: int, trial: optuna.trial.FrozenTrial) -> KnownTrial:
    ending = trial.user_attrs.get(_OUTCOME)
    return KnownTrial(
        number=number,
        state=TrialState(trial.state.name),
        ending=None if ending is None else Outcome(ending),
        reason=trial.user_attrs.get(_REASON),
        params=dict(trial.params),
        scores=dict(trial.intermediate_values),
        retries=_retries(trial.user_attrs),
        ended_at=None if trial.datetime_complete is None else trial.datetime_complete.timestamp(),
        origin=trial.user_attrs.get(_ORIGIN),
    )


def _retries(attributes: Mapping[str, Any]) -> tuple[Retry, ...]:
    """Read the retries of a trial, also those that an earlier version has recorded."""
    return tuple(Retry(**values) for values in attributes.get(_RETRIES, attributes.get(_OLD_RETRIES, ())))
