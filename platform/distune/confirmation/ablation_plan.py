"""The plan of an ablation: the best trial, its control, and the trial without each of its terms, under fresh seeds."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from distune.config.experiment import Experiment
from distune.config.load import parse_experiment, trial_experiment
from distune.confirmation.arms import Arm, fresh_seeds, make_arms, make_spec
from distune.errors import StudyError
from distune.records import TrialRecord, TrialSpec
from distune.study.files.study_folder import StudyFolder

DEFAULT_ABLATION_SEEDS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class AblationPlan:
    """The plan of an ablation.

    Attributes:
        trial: number of the trial.
        seeds: those of a confirmation, so that both share their runs.
        full: runs of the trial, in the folder of the confirmation.
        controls: runs of its control, in the folder of the confirmation.
        without: term to the runs of the trial without it.
    """

    trial: int
    seeds: tuple[int, ...]
    full: tuple[TrialSpec, ...]
    controls: tuple[TrialSpec, ...]
    without: dict[str, tuple[TrialSpec, ...]]

    @property
    def specs(self) -> list[TrialSpec]:
        """All runs, once each, by seed."""
        runs = [*self.controls, *self.full, *(spec for specs in self.without.values() for spec in specs)]
        unique = {spec.folder: spec for spec in runs}
        return sorted(unique.values(), key=lambda spec: self.seeds.index(spec.seed))

    def describe(self) -> str:
        """Return the plan in one line."""
        seeds = f"{len(self.seeds)} seed{'s' * (len(self.seeds) > 1)}"
        return (
            f"ablation: trial {self.trial}, its control, and the trial without each of {', '.join(self.without)}, on "
            f"{seeds}: {len(self.specs)} runs, those on record included"
        )


def plan_ablation(
    folder: StudyFolder,
    trial: TrialRecord,
    experiment: Experiment,
    *,
    num_seeds: int,
    teacher_weights: Path | None,
    data_fingerprint: str | None = None,
) -> AblationPlan:
    """Plan an ablation, without writing anything.

    A term is left out by a weight of 0. If the trial has one term, the trial without it is the control.

    Args:
        folder: of the study.
        trial: the trial to ablate.
        experiment: of the study.
        num_seeds: number of seeds.
        teacher_weights: file of the teacher's weights; None when the study is simulated.
        data_fingerprint: of the splits; None when the study is simulated.

    Returns:
        The plan.

    Raises:
        StudyError: no term of the trial has a weight.
    """
    arms = make_arms([trial])
    (full,), (control,) = arms.trials, arms.controls
    seeds = tuple(fresh_seeds(experiment, num_seeds))
    values = trial_experiment(experiment, trial.params)
    settings = parse_experiment(values, source=f"trial {trial.key}", saved=True).distillation
    terms = [name for name, term in settings.terms.items() if term.weight > 0]
    if not terms:
        raise StudyError(f"study {folder.name}: trial {trial.key} has no term with a weight, so none can be left out")

    def make(arm: Arm, seed: int, path: Path) -> TrialSpec:
        return make_spec(
            arm,
            seed=seed,
            study=folder.name,
            experiment=experiment,
            folder=path,
            teacher_weights=None if teacher_weights is None else str(teacher_weights),
            data_fingerprint=data_fingerprint,
        )

    def make_without(term: str, seed: int) -> TrialSpec:
        params = {**full.params, f"distillation.{term}.weight": 0.0}
        arm = Arm(name=f"{full.name}-without-{term}", number=full.number, params=params)
        spec = make(arm, seed, folder.ablation.path)
        tags = {"kind": "ablation", "ablates": full.name, "without": term}
        return dataclasses.replace(spec, label=f"ablate-{arm.name}-seed-{seed}", tags=tags)

    controls = tuple(make(control, seed, folder.confirmation.path) for seed in seeds)
    return AblationPlan(
        trial=trial.number,
        seeds=seeds,
        full=tuple(make(full, seed, folder.confirmation.path) for seed in seeds),
        controls=controls,
        without={terms[0]: controls}
        if len(terms) == 1
        else {term: tuple(make_without(term, seed) for seed in seeds) for term in terms},
    )
