"""The runs of a confirmation: arms, seeds and their specifications. Pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from distune.config.experiment import Experiment
from distune.config.hashing import content_hash
from distune.config.load import trial_experiment
from distune.errors import StudyError
from distune.records import Outcome, ParameterValue, TrialRecord, TrialSpec
from distune.study.trial_spec import without_addresses

_FIRST_FRESH_SEED = 1000
"""Offset from the study's own seed. The controls of the study use the seeds that follow its own, one each."""
_SELECTION_OFFSET = 1000
"""From the first fresh seed; more seeds than that are never trained."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arm:
    """One side of a comparison: the parameters of a trial, or a control.

    Attributes:
        name: ``17`` for trial 17, ``control``, or ``control-`` and a hash of its parameters where it has any, so that
            trials can share it.
        number: of the trial; -1 for a control.
        params: the searched paths and their values; a control has those outside of ``distillation``.
    """

    name: str
    number: int
    params: dict[str, ParameterValue]

    @property
    def is_control(self) -> bool:
        """True for an arm that trains without distillation."""
        return self.number < 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arms:
    """The arms of a confirmation.

    Attributes:
        trials: the candidates, best in the search first.
        controls: without duplicates.
        control_of: number of a trial to the name of its control.
    """

    trials: tuple[Arm, ...]
    controls: tuple[Arm, ...]
    control_of: dict[int, str]

    @property
    def all(self) -> tuple[Arm, ...]:
        """All arms, controls first."""
        return self.controls + self.trials


def candidates(trials: Sequence[TrialRecord], metric: str, *, top: int) -> list[TrialRecord]:
    """Return the best trials of the search that have finished, best first. Raise ``StudyError`` when there is none."""
    finished = [trial for trial in trials if trial.outcome is Outcome.FINISHED and not trial.control]
    if not finished:
        raise StudyError("no trial has finished yet, so there is nothing to confirm")
    return sorted(finished, key=lambda trial: (-trial.metrics[metric], trial.number))[:top]


def make_arms(chosen: Sequence[TrialRecord]) -> Arms:
    """Return the arms for these trials.

    A control has the parameters of its trial outside of ``distillation``, those of the student and its training. Trials
    that differ only in distillation share one.
    """
    controls: list[Arm] = []
    control_of: dict[int, str] = {}
    for trial in chosen:
        params = {path: value for path, value in trial.params.items() if not path.startswith("distillation.")}
        same = next((control for control in controls if control.params == params), None)
        if same is None:
            name = f"control-{content_hash(params, length=8)}" if params else "control"
            same = Arm(name=name, number=-1, params=params)
            controls.append(same)
        control_of[trial.number] = same.name
    trials = tuple(Arm(name=str(trial.number), number=trial.number, params=dict(trial.params)) for trial in chosen)
    return Arms(trials=trials, controls=tuple(controls), control_of=control_of)


def fresh_seeds(experiment: Experiment, num_seeds: int) -> list[int]:
    """Return seeds that no trial of the study used. A larger number of seeds starts with the same ones."""
    first = experiment.training.seed + max(_FIRST_FRESH_SEED, experiment.search.controls)
    return [first + index for index in range(num_seeds)]


def selection_seeds(experiment: Experiment, num_seeds: int) -> list[int]:
    """Return seeds that choose the winner: neither the search nor the result uses them."""
    return [first_selection_seed(experiment) + index for index in range(num_seeds)]


def first_selection_seed(experiment: Experiment) -> int:
    """Return the first seed that is not one of a result."""
    return fresh_seeds(experiment, 1)[0] + _SELECTION_OFFSET


def make_spec(
    arm: Arm,
    *,
    seed: int,
    study: str,
    experiment: Experiment,
    folder: Path,
    teacher_weights: str | None,
    teacher: int = 0,
    data_fingerprint: str | None = None,
) -> TrialSpec:
    """Make the specification of an arm under a seed.

    Args:
        arm: the arm.
        seed: of weights, order of images, augmentation and sampling.
        study: name of the study.
        experiment: of the study.
        folder: of the confirmation.
        teacher_weights: file of the teacher's weights; None when the study is simulated.
        teacher: its number; that of the study is 0. Runs with another one have names of their own.
        data_fingerprint: of the splits; None when the study is simulated.

    Returns:
        The specification.
    """
    values = trial_experiment(experiment, arm.params, is_control=arm.is_control)
    name = arm.name if teacher == 0 or arm.is_control else f"{arm.name}-teacher-{teacher + 1}"
    return TrialSpec(
        study=study,
        number=arm.number,
        control=arm.is_control,
        seed=seed,
        num_epochs=experiment.training.epochs,
        params=dict(arm.params),
        experiment=without_addresses(values),
        folder=str(folder / f"seed-{seed}" / name),
        teacher_weights=None if arm.is_control else teacher_weights,
        label=f"confirm-{name}-seed-{seed}",
        tags={"kind": "confirmation", "confirms": arm.name},
        data_fingerprint=data_fingerprint,
    )
