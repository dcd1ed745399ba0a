"""The plan of a confirmation: its arms, seeds and runs.

Several trials first train under selection seeds, one seed a round, and the worst one is dropped after each round. The
result compares the last one with its control under other seeds, so that the luck of the choice is not part of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from distune.config.experiment import Experiment
from distune.config.format_value import show_duration
from distune.confirmation.arm_folder import ArmFolder
from distune.confirmation.arms import (
    Arm,
    Arms,
    candidates,
    first_selection_seed,
    fresh_seeds,
    make_arms,
    make_spec,
    selection_seeds,
)
from distune.errors import StudyError
from distune.records import Outcome, TrialSpec
from distune.study.files.study_folder import StudyFolder
from distune.study.planning.time_text import show_seconds
from distune.study.status import StudyStatus, best_trial


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConfirmationPlan:
    """The plan of a confirmation.

    Attributes:
        arms: the trials and their controls.
        searched: number of each trial to its score in the search.
        selection_seeds: choose one of several trials, one seed for each that is dropped; empty with one trial.
        seeds: of the result.
        num_teachers: teachers that the seeds of the result share, in turn.
        max_seeds: seeds are added until the question is decided, at most to this number; None adds none.
        margin: gains below it, in points, do not matter; only with ``max_seeds``.
        make: makes the specification of an arm under a seed.
    """

    arms: Arms
    searched: Mapping[int, float]
    selection_seeds: tuple[int, ...]
    seeds: tuple[int, ...]
    num_teachers: int = 1
    max_seeds: int | None = None
    margin: float | None = None
    make: Callable[[Arm, int], TrialSpec] = dataclasses.field(compare=False, repr=False)

    def teacher_of(self, seed: int) -> int:
        """Return the number of the teacher of a seed of the result, from 0 for that of the study."""
        return (seed - self.seeds[0]) % self.num_teachers

    def selection_runs(self, trials: Collection[int], seed: int) -> dict[int, TrialSpec]:
        """Return number to run of trials under a selection seed."""
        return {arm.number: self.make(arm, seed) for arm in self.arms.trials if arm.number in trials}

    def result_runs(self, trial: int, seeds: Sequence[int] | None = None) -> tuple[list[TrialSpec], list[TrialSpec]]:
        """Return the runs of a trial and of its control that the result compares.

        Args:
            trial: its number.
            seeds: of the runs; those of the plan when None.

        Returns:
            The runs of the trial, and of the control.
        """
        arm = next(arm for arm in self.arms.trials if arm.number == trial)
        control = next(each for each in self.arms.controls if each.name == self.arms.control_of[trial])
        return (
            [self.make(arm, seed) for seed in seeds or self.seeds],
            [self.make(control, seed) for seed in seeds or self.seeds],
        )

    @property
    def num_runs(self) -> int:
        """Number of runs, at most."""
        num_trials = len(self.arms.trials)
        of_selection = sum(range(2, num_trials + 1))  # all in the first round, and one fewer in each further one
        return of_selection + 2 * (self.max_seeds or len(self.seeds))

    @property
    def num_runs_left(self) -> int:
        """Number of runs that are not on record, at most."""
        left = 0
        for round_index, seed in enumerate(self.selection_seeds):
            runs = self.selection_runs([arm.number for arm in self.arms.trials], seed).values()
            left += min(sum(map(_is_left, runs)), len(self.arms.trials) - round_index)
        seeds = range(self.seeds[0], self.seeds[0] + (self.max_seeds or len(self.seeds)))
        return left + max(
            sum(_is_left(spec) for runs in self.result_runs(arm.number, seeds) for spec in runs)
            for arm in self.arms.trials
        )

    @property
    def num_epochs(self) -> int:
        """Number of epochs left in all runs of the choice and of the first interval, at most."""
        left: list[int] = []
        for round_index, seed in enumerate(self.selection_seeds):
            runs = self.selection_runs([arm.number for arm in self.arms.trials], seed).values()
            left += sorted(map(_epochs_left, runs), reverse=True)[: len(self.arms.trials) - round_index]
        return sum(left) + max(
            sum(_epochs_left(spec) for runs in self.result_runs(arm.number) for spec in runs)
            for arm in self.arms.trials
        )

    def describe(self) -> str:
        """Return the plan in one line."""
        seeds = f"seed{'s' * (len(self.seeds) > 1)} {_range(self.seeds)}"
        if self.max_seeds is not None:
            seeds += f", and more until it is decided, at most {self.max_seeds} seeds"
        if self.selection_seeds:
            trials = ", ".join(arm.name for arm in self.arms.trials)
            compared = f"a race of the trials {trials} chooses one; it and its control on {seeds}"
        else:
            compared = f"trial {self.arms.trials[0].name} and its control on {seeds}"
        runs = f"{self.num_runs} runs" if self.max_seeds is None else f"at most {self.num_runs} runs"
        first = "" if self.max_seeds is None else " for the first interval"
        if self.num_teachers > 1:
            compared += f", with {self.num_teachers} teachers in turn"
        return f"confirmation: {compared}: {runs}, at most {self.num_epochs} epochs to train{first}"

    def describe_time(self, epoch_s: float | None) -> str | None:
        """Estimate the time of the runs that are left, in one line.

        Args:
            epoch_s: seconds per epoch of a searched trial; None before it is measured.

        Returns:
            The estimate for runs that train one after the other; None without one, and when no epoch is left.
        """
        if epoch_s is None or (self.num_epochs == 0 and self.max_seeds is None):
            return None
        of_plan = f"at most {show_duration(self.num_epochs * epoch_s)}"
        if self.max_seeds is not None:
            of_seed = 2 * self.make(self.arms.trials[0], self.seeds[0]).num_epochs
            of_plan += f" for the first interval, and {show_duration(of_seed * epoch_s)} for each further seed"
        return (
            f"estimated time: {of_plan}, if runs train one after the other ({show_seconds(epoch_s)} per epoch in the "
            "search)"
        )


def check_num_seeds(folder: StudyFolder, num_seeds: int) -> None:
    """Check that a confirmation does not replace one with more seeds, or evaluate the test split with fewer.

    Args:
        folder: of the study.
        num_seeds: number of fresh seeds that are asked for.

    Raises:
        StudyError: more seeds are on record.
    """
    result = folder.confirmation.read()
    recorded = [
        () if result is None else result.seeds,
        *(each.seeds for each in folder.confirmation.test_evaluations()),
    ]
    most = max(map(len, recorded))
    if num_seeds < most:
        raise StudyError(
            f"study {folder.name}: seeds = {num_seeds} is less than the {most} of the confirmation on record; ask for "
            f"at least {most}: distune confirm {folder.name} --seeds {most}"
        )


def plan_confirmation(
    folder: StudyFolder,
    status: StudyStatus,
    experiment: Experiment,
    *,
    top: int,
    num_seeds: int,
    teacher_weights: Path | None,
    further_teachers: Sequence[Path | None] = (),
    data_fingerprint: str | None = None,
    max_seeds: int | None = None,
    margin: float | None = None,
) -> ConfirmationPlan:
    """Plan a confirmation, without writing anything.

    Args:
        folder: of the study.
        status: of the study.
        experiment: of the study.
        top: number of trials of which one is chosen, the best of the search.
        num_seeds: number of fresh seeds for it and its control.
        teacher_weights: file of the teacher's weights; None when the study is simulated.
        further_teachers: weights of teachers that were trained under other seeds.
        data_fingerprint: of the splits; None when the study is simulated.
        max_seeds: add seeds until the question is decided, at most to this number; None adds none.
        margin: gains below it, in points, do not matter; only with ``max_seeds``.

    Returns:
        The plan.

    Raises:
        StudyError: no trial of the search has finished.
    """
    best_trial(status)  # or the reason that there is none
    chosen = candidates(status.trials, status.metric, top=top)
    arms = make_arms(chosen)
    weights = [teacher_weights, *further_teachers]
    seeds = tuple(fresh_seeds(experiment, num_seeds))

    def make(arm: Arm, seed: int) -> TrialSpec:
        number = (seed - seeds[0]) % len(weights) if seed < first_selection_seed(experiment) else 0
        return make_spec(
            arm,
            seed=seed,
            study=folder.name,
            experiment=experiment,
            folder=folder.confirmation.path,
            teacher_weights=None if weights[number] is None else str(weights[number]),
            teacher=number,
            data_fingerprint=data_fingerprint,
        )

    return ConfirmationPlan(
        arms=arms,
        searched={trial.number: trial.metrics[status.metric] for trial in chosen},
        selection_seeds=tuple(selection_seeds(experiment, len(arms.trials) - 1)),
        seeds=seeds,
        num_teachers=len(weights),
        max_seeds=max_seeds,
        margin=margin,
        make=make,
    )


def _range(seeds: Sequence[int]) -> str:
    return f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"


def _is_left(spec: TrialSpec) -> bool:
    folder = ArmFolder.of(spec)
    return folder.mismatch(spec) is not None or folder.outcome()[0] in (None, Outcome.FAILED)


def _epochs_left(spec: TrialSpec) -> int:
    folder = ArmFolder.of(spec)
    if folder.mismatch(spec) is not None:
        return spec.num_epochs
    is_open = folder.outcome()[0] in (None, Outcome.FAILED)
    return spec.num_epochs - len(folder.trial.reports()) if is_open else 0
