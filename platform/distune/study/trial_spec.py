"""Makes the specification of a trial, with everything that a worker needs to train it."""

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
    """Return the seed of a trial: the experiment's, plus k for the control with number -1 - k."""
    return experiment.training.seed + (-1 - number if number < 0 else 0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpecMaker:
    """Makes trial specifications of one study.

    Attributes:
        study: name of the study.
        experiment: of the study.
        trials_folder: holds one folder per trial, named by its key.
        teacher_weights: file of the teacher's weights; None when the study is simulated.
    """

    study: str
    experiment: Experiment
    trials_folder: Path
    teacher_weights: str | None

    def make(self, number: int, params: Mapping[str, ParameterValue]) -> tuple[TrialSpec, str | None]:
        """Make the specification of a trial.

        Args:
            number: distune's number of the trial.
            params: path to value.

        Returns:
            The specification and None; or, when the values are incompatible, a specification of the experiment without
            these values, and the reason.
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
    """Return an experiment without addresses of stores: workers do not need them, and specifications are public."""
    return {**experiment, **{section: {**experiment[section], name: None} for section, name in ADDRESSES}}
