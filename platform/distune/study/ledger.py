"""The trials of a study on record in Optuna, controls included, under distune's numbers.

Searched trials have their Optuna number; the control with Optuna number n, in a study of its own, is trial ``-1 - n``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import optuna

from distune.config.search import SamplerSettings
from distune.config.space import Parameter
from distune.records import Outcome, ParameterValue, TrialState
from distune.study.samplers import build_sampler, suggest
from distune.study.setbacks import Setback

_OUTCOME, _REASON, _SETBACKS = "outcome", "reason", "setbacks"


@dataclasses.dataclass(frozen=True, kw_only=True)
class KnownTrial:
    """A trial as Optuna remembers it.

    Attributes:
        number: distune's number.
        state: Optuna's state.
        ending: how the trial ends, written before the state is. A RUNNING trial that has one was cut off while ending.
        reason: why it failed or diverged.
        params: varied path to value, as far as they were chosen.
        scores: epoch to the study's metric; NaN for the epoch in which the trial diverged.
        setbacks: failures after which it was tried again.
        ended_at: seconds since 1970, None as long as it has not ended.
    """

    number: int
    state: TrialState
    ending: Outcome | None
    reason: str | None
    params: dict[str, ParameterValue]
    scores: dict[int, float]
    setbacks: tuple[Setback, ...] = ()
    ended_at: float | None = None

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


def known_trials(searched: optuna.Study, controls: optuna.Study) -> list[KnownTrial]:
    """All trials on record: controls first, each kind in the order in which it was started."""
    found = [_known(-1 - trial.number, trial) for trial in controls.get_trials(deepcopy=False)]
    return found + [_known(trial.number, trial) for trial in searched.get_trials(deepcopy=False)]


class Ledger:
    """Reads and writes the two Optuna studies of a study.

    Args:
        storage: where both are kept.
        searched: the study of the searched trials.
        controls: the study of the controls.
        varied: path to parameter; what a searched trial chooses.
        sampler: who chooses.
    """

    def __init__(
        self,
        storage: optuna.storages.BaseStorage,
        searched: optuna.Study,
        controls: optuna.Study,
        *,
        varied: Mapping[str, Parameter],
        sampler: SamplerSettings,
    ) -> None:
        self._storage, self._searched, self._controls = storage, searched, controls
        self._varied, self._sampler = varied, sampler
        self._study_ids = tuple(storage.get_study_id_from_name(study.study_name) for study in (searched, controls))
        self._trial_ids: dict[int, int] = {}

    def known(self) -> list[KnownTrial]:
        """All trials on record, see ``known_trials``."""
        return known_trials(self._searched, self._controls)

    def enqueue(self, values: Mapping[str, ParameterValue]) -> None:
        """Let the next new trial have these values; what is missing is chosen by the sampler."""
        self._searched.enqueue_trial(dict(values), skip_if_exists=True)

    def ask(self, index: int) -> tuple[int, dict[str, ParameterValue]]:
        """Start the ``index``-th searched trial. Returns its number and values."""
        self._searched.sampler = build_sampler(self._sampler, index)
        return self._choose(self._searched.ask())

    def ask_control(self) -> int:
        """Start a control. Returns its number."""
        return -1 - self._controls.ask().number

    def complete_params(self, known: KnownTrial) -> dict[str, ParameterValue]:
        """The values of a trial that an earlier session started; those that it had not chosen yet are chosen now."""
        if known.number < 0 or set(known.params) >= set(self._varied):
            return known.params
        sampler = self._searched.sampler = build_sampler(self._sampler, known.number)
        trial_id = self._trial_id(known.number)
        trial, record = optuna.Trial(self._searched, trial_id), self._storage.get_trial(trial_id)
        given = {*trial.relative_params, *record.system_attrs.get("fixed_params", {})}
        for path in (path for path in self._varied if path in known.params and path not in given):
            # Drawn again and dropped: the values that follow are then those that would have followed.
            sampler.sample_independent(self._searched, record, path, record.distributions[path])
        return self._choose(trial)[1]

    def announce_ending(self, number: int, ending: Outcome, reason: str | None) -> None:
        """Put on record how a trial is about to end, so that a session cut off in between ends it the same way."""
        trial_id = self._trial_id(number)
        if reason is not None:
            self._storage.set_trial_user_attr(trial_id, _REASON, reason)
        self._storage.set_trial_user_attr(trial_id, _OUTCOME, ending.value)

    def record_setbacks(self, number: int, setbacks: Sequence[Setback]) -> None:
        """Put on record all failures so far after which a trial is tried again."""
        values = [setback.to_dict() for setback in setbacks]
        self._storage.set_trial_user_attr(self._trial_id(number), _SETBACKS, values)

    def report(self, number: int, epoch: int, score: float) -> None:
        """Put the score of an epoch on record; NaN when the trial has diverged."""
        self._storage.set_trial_intermediate_value(self._trial_id(number), epoch, score)

    def end(self, number: int, state: TrialState, value: float | None) -> None:
        """End a trial; one that has ended already is left as it is.

        Args:
            number: distune's number.
            state: COMPLETE, PRUNED or FAIL.
            value: what the sampler learns from a COMPLETE trial, None otherwise.
        """
        study, optuna_number = self._locate(number)
        study.tell(optuna_number, value, state=optuna.trial.TrialState[state.value], skip_if_finished=True)

    def _choose(self, trial: optuna.Trial) -> tuple[int, dict[str, ParameterValue]]:
        return trial.number, {path: suggest(trial, path, parameter) for path, parameter in self._varied.items()}

    def _locate(self, number: int) -> tuple[optuna.Study, int]:
        return (self._controls, -1 - number) if number < 0 else (self._searched, number)

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
        setbacks=tuple(Setback(**values) for values in trial.user_attrs.get(_SETBACKS, ())),
        ended_at=None if trial.datetime_complete is None else trial.datetime_complete.timestamp(),
    )
