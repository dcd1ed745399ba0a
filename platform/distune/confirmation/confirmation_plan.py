"""The plan of a confirmation: its arms, seeds and runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from distune.config.experiment import Experiment
from distune.confirmation.arm_folder import ArmFolder
from distune.confirmation.arms import Arms, candidates, fresh_seeds, make_arms, make_spec
from distune.confirmation.ranking import Runs
from distune.errors import StudyError
from distune.records import Outcome, TrialSpec
from distune.study.files.study_folder import StudyFolder
from distune.study.status import StudyStatus


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConfirmationPlan:
    """The plan of a confirmation.

    Attributes:
        arms: the trials and their controls.
        seeds: fresh ones.
        runs: name of an arm to its runs, one per seed.
        num_epochs: number of epochs left in all runs, at most.
    """

    arms: Arms
    seeds: tuple[int, ...]
    runs: Runs
    num_epochs: int

    @property
    def specs(self) -> list[TrialSpec]:
        """All runs."""
        return [spec for runs in self.runs.values() for spec in runs]

    def describe(self) -> str:
        """Return the plan in one line."""
        trials = ", ".join(arm.name for arm in self.arms.trials)
        controls = "1 control" if len(self.arms.controls) == 1 else f"{len(self.arms.controls)} controls"
        return (
            f"confirmation: trial {trials} and {controls} on seeds {self.seeds[0]} to "
            f"{self.seeds[-1]}: {len(self.specs)} runs, {self.num_epochs} epochs to train"
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
    data_fingerprint: str | None = None,
) -> ConfirmationPlan:
    """Plan a confirmation, without writing anything.

    Args:
        folder: of the study.
        status: of the study.
        experiment: of the study.
        top: number of trials to train again, the best of the search.
        num_seeds: number of fresh seeds.
        teacher_weights: file of the teacher's weights; None when the study is simulated.
        data_fingerprint: of the splits; None when the study is simulated.

    Returns:
        The plan.

    Raises:
        StudyError: no trial of the search has finished.
    """
    arms = make_arms(candidates(status.trials, status.metric, top=top))
    seeds = tuple(fresh_seeds(experiment, num_seeds))
    weights = None if teacher_weights is None else str(teacher_weights)
    runs = {
        arm.name: [
            make_spec(
                arm,
                seed=seed,
                study=folder.name,
                experiment=experiment,
                folder=folder.confirmation.path,
                teacher_weights=weights,
                data_fingerprint=data_fingerprint,
            )
            for seed in seeds
        ]
        for arm in arms.all
    }
    left = sum(_epochs_left(spec) for specs in runs.values() for spec in specs)
    return ConfirmationPlan(arms=arms, seeds=seeds, runs=runs, num_epochs=left)


def _epochs_left(spec: TrialSpec) -> int:
    folder = ArmFolder.of(spec)
    if folder.mismatch(spec) is not None:
        return spec.num_epochs
    is_open = folder.outcome()[0] in (None, Outcome.FAILED)
    return spec.num_epochs - len(folder.trial.reports()) if is_open else 0
