"""Helpers for tests of confirmations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distune.config.home import Home
from distune.confirmation.arms import make_arms, make_spec
from distune.confirmation.confirmation_plan import plan_confirmation
from distune.confirmation.confirmation_session import run_confirmation
from distune.evidence.confirmation_result import ConfirmationResult
from distune.records import Outcome, TrialRecord, TrialSpec, TrialState
from distune.study.create import create_study
from distune.study.files.study_folder import StudyFolder
from distune.study.session import run_session
from distune.study.status import read_study
from study.harness import MakeLoaded, Witness
from support.prepared import copy_prepared

METRIC = "search/AP"
EPOCHS = 3


def searched_study(
    home: Home, make_loaded: MakeLoaded, *, num_trials: int = 4, scheduler_kind: str | None = None, **sections: Any
) -> StudyFolder:
    """A finished study ``one``, a copy of that of an earlier test with the same arguments."""

    def make(root: Path) -> None:
        scheduler = {} if scheduler_kind is None else {"scheduler": {"kind": scheduler_kind}}
        loaded = make_loaded(search={"num_trials": num_trials, **scheduler}, training={"epochs": EPOCHS}, **sections)
        folder = create_study(loaded, Home(root), name="one", simulate=True, runner="local", replace=False)
        run_session(folder, tracker=Witness(), callback=Witness(), teacher_weights=None)

    copy_prepared(("searched", num_trials, scheduler_kind, sections), make, home.root)
    return StudyFolder(home.study("one"))


def confirm(
    home: Home,
    folder: StudyFolder,
    witness: Witness | None = None,
    *,
    top: int = 2,
    seeds: int = 3,
    metric: str = "AP",
    has_test: bool = True,
    max_seeds: int | None = None,
    margin: float | None = None,
    teachers: int = 1,
) -> ConfirmationResult | None:
    experiment = folder.load().experiment
    status = read_study(home, folder.name)
    plan = plan_confirmation(
        folder,
        status,
        experiment,
        top=top,
        num_seeds=seeds,
        teacher_weights=None,
        further_teachers=[None] * (teachers - 1),
        max_seeds=max_seeds,
        margin=margin,
    )
    witness = witness or Witness()
    return run_confirmation(
        folder, plan, metric=metric, has_test=has_test, state=status.state, tracker=witness, callback=witness
    )


def computed_epochs(path: Path) -> list[str]:
    return sorted(line for line in path.read_text().splitlines() if line.startswith("confirm-"))


def record(number: int, score: float, params: dict[str, Any], outcome: Outcome = Outcome.FINISHED) -> TrialRecord:
    return TrialRecord(
        number=number,
        state=TrialState.COMPLETE,
        outcome=outcome,
        control=number < 0,
        epochs=EPOCHS,
        params=params,
        metrics={METRIC: score},
        seed=5,
    )


def arm_spec(make_loaded: MakeLoaded, folder: Path, **changes: Any) -> TrialSpec:
    arms = make_arms([record(4, 1, {"distillation.decay": "cosine"})])
    common: dict[str, Any] = {"seed": 1005, "study": "one", "experiment": make_loaded().experiment, "folder": folder}
    return make_spec(arms.trials[0], **{**common, "teacher_weights": "teachers/a/best.pt", **changes})
