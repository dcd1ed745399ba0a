"""A trial as recorded in Optuna, as plain values. Does not import Optuna: `distune status` reads trials without it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from distune.records import Outcome, ParameterValue, TrialState
from distune.study.failures.retries import Retry
from distune.study.search.trial_attributes import ORIGIN, OUTCOME, REASON, RETRIES, read_attribute


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredTrial:
    """A trial as recorded in Optuna.

    Attributes:
        number: distune's number.
        state: Optuna's state.
        ending: how the trial ends. It is recorded before the state changes: a RUNNING trial that has an ending was
            interrupted while it ended.
        reason: why it failed or diverged.
        params: searched path to value, as far as they have been chosen.
        origin: source of its values, None when the sampler proposed them.
        scores: epoch to the study's metric; NaN for the epoch in which the trial diverged.
        retries: failures after which it was tried again.
        ended_at: seconds since 1970, None while it has not ended.
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
        """Outcome of the trial while no session works on it."""
        if self.state is TrialState.PRUNED:
            return Outcome.DIVERGED if any(math.isnan(score) for score in self.scores.values()) else Outcome.STOPPED
        return {
            TrialState.WAITING: Outcome.WAITING,
            TrialState.RUNNING: Outcome.INTERRUPTED,
            TrialState.COMPLETE: Outcome.FINISHED,
            TrialState.FAIL: Outcome.FAILED,
        }[self.state]


def stored_trial(
    number: int,
    *,
    state: str,
    params: Mapping[str, ParameterValue],
    scores: Mapping[int, float],
    attributes: Mapping[str, Any],
    ended_at: datetime | None,
) -> StoredTrial:
    """Return a trial from the parts of Optuna's record.

    Args:
        number: distune's number.
        state: name of Optuna's state.
        params: searched path to value.
        scores: epoch to intermediate value.
        attributes: user attributes.
        ended_at: local time at which the trial ended, None while it has not.

    Returns:
        The trial.
    """
    ending = read_attribute(attributes, OUTCOME)
    return StoredTrial(
        number=number,
        state=TrialState(state),
        ending=None if ending is None else Outcome(ending),
        reason=read_attribute(attributes, REASON),
        params=dict(params),
        scores=dict(scores),
        retries=tuple(Retry(**values) for values in read_attribute(attributes, RETRIES, ())),
        ended_at=None if ended_at is None else ended_at.timestamp(),
        origin=read_attribute(attributes, ORIGIN),
    )
