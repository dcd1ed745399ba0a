"""The records of a study's trials in Optuna, controls included, under distune's numbers.

Searched trials have their Optuna number. Controls are in an Optuna study of their own: the control with Optuna number n
is trial ``-1 - n``.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import optuna

from distune.config.conditions import Chosen
from distune.config.space import Parameter
from distune.records import Outcome, TrialRecord, TrialState
from distune.study.failures.retries import Retry
from distune.study.search.samplers import distribution_of
from distune.study.search.stored_trial import StoredTrial, stored_trial
from distune.study.search.trial_attributes import (
    EPOCHS,
    GAIN,
    ORIGIN,
    OUTCOME,
    PROPOSED,
    REASON,
    REPEATS_AVOIDED,
    REQUESTED,
    RETRIES,
    SEED,
)

_RELATIVE_PARAMS = ":relative_params:"
"""Part of the system attributes in which Optuna's samplers keep the values that they drew for a trial."""


def read_trials(search_study: optuna.Study, control_study: optuna.Study) -> list[StoredTrial]:
    """Return all recorded trials: controls first, each kind in the order in which it was started."""
    found = [_stored(-1 - trial.number, trial) for trial in control_study.get_trials(deepcopy=False)]
    return found + [_stored(trial.number, trial) for trial in search_study.get_trials(deepcopy=False)]


class TrialStore:
    """Reads and writes the two Optuna studies of a study.

    Args:
        storage: of both.
        search_study: the study of the searched trials.
        control_study: the study of the controls.

    Attributes:
        search_study: the study of the searched trials.
    """

    def __init__(
        self, storage: optuna.storages.BaseStorage, search_study: optuna.Study, control_study: optuna.Study
    ) -> None:
        self.search_study = search_study
        self._storage, self._control_study = storage, control_study
        self._study_ids = tuple(
            storage.get_study_id_from_name(study.study_name) for study in (search_study, control_study)
        )
        self._trial_ids: dict[int, int] = {}

    def trials(self) -> list[StoredTrial]:
        """Return all recorded trials, see ``read_trials``."""
        return read_trials(self.search_study, self._control_study)

    def start_trial(self) -> int:
        """Start a searched trial, one that waits if there is any. Returns its number."""
        return self.search_study.ask().number

    def start_control(self) -> int:
        """Start a control. Returns its number."""
        return -1 - self._control_study.ask().number

    def enqueue(self, values: Chosen, origin: str) -> None:
        """Let the next trial that is started have these values, path to value. ``origin`` says where they come from."""
        self.search_study.enqueue_trial({}, user_attrs={ORIGIN: origin, REQUESTED: dict(values)})

    def read(self, number: int) -> optuna.trial.FrozenTrial:
        """Return Optuna's record of a trial."""
        return self._storage.get_trial(self._trial_id(number))

    def record_proposal(self, number: int, params: Chosen, *, repeats_avoided: int) -> None:
        """Record the values that were proposed for a trial, and how many proposals were rejected before."""
        trial_id = self._trial_id(number)
        if repeats_avoided:
            self._storage.set_trial_user_attr(trial_id, REPEATS_AVOIDED, repeats_avoided)
        self._storage.set_trial_user_attr(trial_id, PROPOSED, dict(params))

    def record_params(self, number: int, params: Chosen, searched: Mapping[str, Parameter]) -> None:
        """Record the values of a trial that are not on record yet; ``searched`` are the parameters of the space."""
        trial_id = self._trial_id(number)
        recorded = self._storage.get_trial(trial_id).params
        for path, value in params.items():
            if path not in recorded:
                distribution = distribution_of(searched[path])
                self._storage.set_trial_param(trial_id, path, distribution.to_internal_repr(value), distribution)

    def clear_drawn(self, number: int) -> None:
        """Clear the values that a sampler drew for a trial in a session that was killed: GP keeps away from them."""
        trial_id = self._trial_id(number)
        for name in self._storage.get_trial(trial_id).system_attrs:
            if _RELATIVE_PARAMS in name:
                self._storage.set_trial_system_attr(trial_id, name, "")

    def announce_ending(self, number: int, ending: Outcome, reason: str | None) -> None:
        """Record how a trial is about to end: a session that resumes after a crash ends it in the same way."""
        trial_id = self._trial_id(number)
        if reason is not None:
            self._storage.set_trial_user_attr(trial_id, REASON, reason)
        self._storage.set_trial_user_attr(trial_id, OUTCOME, ending.value)

    def describe(self, record: TrialRecord, gain: float | None) -> None:
        """Record outcome, epochs, seed and gain of a trial that is about to end, for optuna-dashboard.

        Optuna does not change trials that have ended: a gain that follows from a later control is not recorded.
        """
        trial_id = self._trial_id(record.number)
        values = {OUTCOME: record.outcome.value, EPOCHS: record.epochs, SEED: record.seed, GAIN: gain}
        trial = self._storage.get_trial(trial_id)
        for name, value in values.items():
            if not trial.state.is_finished() and value is not None and trial.user_attrs.get(name) != value:
                self._storage.set_trial_user_attr(trial_id, name, value)

    def describe_study(self, metrics: Sequence[str], results: Mapping[str, str | float]) -> None:
        """Name the objectives of the searched trials, and record results of the study, for optuna-dashboard.

        Args:
            metrics: the metric, then the costs.
            results: name to value, such as the best trial.
        """
        for study, names in ((self.search_study, list(metrics)), (self._control_study, [metrics[0]])):
            if len(names) == len(study.directions) and study.metric_names != names:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                    study.set_metric_names(names)
        present = self.search_study.user_attrs
        for name, value in results.items():
            if present.get(name) != value:
                self.search_study.set_user_attr(name, value)

    def record_retries(self, number: int, retries: Sequence[Retry]) -> None:
        """Record all failures so far after which a trial is tried again."""
        values = [retry.to_dict() for retry in retries]
        self._storage.set_trial_user_attr(self._trial_id(number), RETRIES, values)

    def report(self, number: int, epoch: int, score: float) -> None:
        """Record the score of an epoch; NaN when the trial has diverged."""
        self._storage.set_trial_intermediate_value(self._trial_id(number), epoch, score)

    def end(self, number: int, state: TrialState, values: Sequence[float] | None) -> None:
        """End a trial. A trial that has ended is left unchanged.

        Args:
            number: distune's number.
            state: COMPLETE, PRUNED or FAIL.
            values: of a COMPLETE trial: its score, then its costs; None otherwise. Of a control, only the score is
                recorded.
        """
        study, optuna_number = self._locate(number)
        recorded = None if values is None else list(values[: len(study.directions)])
        study.tell(optuna_number, recorded, state=optuna.trial.TrialState[state.value], skip_if_finished=True)

    def _locate(self, number: int) -> tuple[optuna.Study, int]:
        return (self._control_study, -1 - number) if number < 0 else (self.search_study, number)

    def _trial_id(self, number: int) -> int:
        if number not in self._trial_ids:
            optuna_number = self._locate(number)[1]
            study_id = self._study_ids[1 if number < 0 else 0]
            self._trial_ids[number] = self._storage.get_trial_id_from_study_id_trial_number(study_id, optuna_number)
        return self._trial_ids[number]


def _stored(number: int, trial: optuna.trial.FrozenTrial) -> StoredTrial:
    return stored_trial(
        number,
        state=trial.state.name,
        params=trial.params,
        scores=trial.intermediate_values,
        attributes=trial.user_attrs,
        ended_at=trial.datetime_complete,
    )
