"""Makes the specification of a trial: all that a worker needs to train it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distune.config.experiment import Experiment
from distune.config.load import trial_experiment
from distune.errors import ConfigError
from distune.records import ParameterValue, TrialSpec, trial_key

ADDRESSES = (("tracking", "uri"), ("search", "storage"))
"""Settings that may hold a user and a password."""


def trial_seed(experiment: Experiment, number: int) -> int:
    """The seed of a trial. All searched trials and the first control start alike; control k has k more."""
    return experiment.training.seed + (-1 - number if number < 0 else 0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpecMaker:
    """Makes trial specifications of one study.

    Attributes:
        study: its name.
        experiment: as it was launched.
        trials_folder: each trial has a folder in it, named by its key.
        teacher_weights: file of the teacher's weights; None when the study is simulated.
    """

    study: str
    experiment: Experiment
    trials_folder: Path
    teacher_weights: str | None

    def make(self, number: int, params: Mapping[str, ParameterValue]) -> tuple[TrialSpec, str | None]:
        """The specification of a trial, and what is wrong with it.

        Returns:
            The specification, and None; or, when the chosen values do not go together, a specification that only names
            the trial, and the reason.
        """
        is_control = number < 0
        problem: str | None = None
        try:
            experiment = trial_experiment(self.experiment, params, is_control=is_control)
        except ConfigError as error:
            experiment, problem = self.experiment.to_dict(), f"settings: {'; '.join(error.problems)}"
        spec = TrialSpec(
            study=self.study,
            number=number,
            control=is_control,
            seed=trial_seed(self.experiment, number),
            num_epochs=self.experiment.training.epochs,
            params=dict(params),
            experiment=without_addresses(experiment),
            folder=str(self.trials_folder / trial_key(number)),
            teacher_weights=None if is_control else self.teacher_weights,
        )
        return spec, problem


def without_addresses(experiment: dict[str, Any]) -> dict[str, Any]:
    """An experiment as a worker gets it: it needs no addresses of stores, and its settings are shown to everybody."""
    return {**experiment, **{section: {**experiment[section], name: None} for section, name in ADDRESSES}}
