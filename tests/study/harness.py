"""A harness that runs sessions of a small simulated study in milliseconds and keeps all their events."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna

from distune.config.load import LoadedExperiment
from distune.records import EpochReport, Outcome, ParameterValue, TrialRecord, TrialSpec, TrialState
from distune.study.callback import Decision
from distune.study.engine import StudyEngine
from distune.study.runners.local import run_locally
from distune.study.search.stored_trial import StoredTrial
from distune.study.search.trial_store import TrialStore
from distune.study.storage.optuna_storage import open_studies
from distune.study.trial_spec import SpecMaker
from distune.tracking.study_view import StudyView
from distune.training.trial_folder import TrialFolder

STUDY = "small"
METRIC = "search/AP"

EXPERIMENT: dict[str, Any] = {
    "name": STUDY,
    "data": {"kind": "shapes"},
    "teacher": {"family": "retinanet", "backbone": "resnet18"},
    "teacher_training": {"epochs": 2},
    "student": {"family": "retinanet", "backbone": "resnet10"},
    "distillation": {"global_knowledge": {"weight": 5.0, "unit": "raw"}},
    "training": {"epochs": 9, "seed": 5},
    "search": {
        "space": "given",
        "num_trials": 12,
        "controls": 1,
        "sampler": {"kind": "tpe", "startup_trials": 4, "seed": 1},
        "scheduler": {"kind": "asha", "grace_epochs": 1, "reduction_factor": 3.0},
    },
    "resources": {"cpus_per_trial": 0.5},
}
SPACE: dict[str, Any] = {
    "name": "small",
    "parameters": {
        "distillation.global_knowledge.weight": {"kind": "float", "low": 0.5, "high": 50.0, "log": True},
        "distillation.soft_labels.temperature": {"kind": "float", "low": 1.0, "high": 10.0, "step": 0.5},
        "distillation.prototypes.per_class": {"kind": "int", "low": 2, "high": 32, "log": True},
        "distillation.decay": {"kind": "choice", "values": ["linear", "cosine", "constant"]},
    },
}


class Witness:
    """A tracker and a callback that remember everything."""

    def __init__(self) -> None:
        self.points: list[tuple[str, int]] = []
        self.specs: list[TrialSpec] = []
        self.replaced: list[str] = []
        self.records: list[TrialRecord] = []
        self.files: list[tuple[str | None, str, str]] = []
        self.figures: dict[str, float] = {}
        self.study_tags: dict[str, str] = {}
        self.study_ends: list[str] = []
        self.logged: dict[str, dict[str, float]] = {}
        self.views: list[StudyView] = []
        self.descriptions: list[tuple[str, str]] = []
        self.decisions: list[tuple[str, int, Decision]] = []
        self.ended_records: list[TrialRecord] = []
        self.messages: list[str] = []

    def on_session_start(self, num_trials: int) -> None: ...

    def start_study(self, params: Mapping[str, ParameterValue], tags: Mapping[str, str]) -> None: ...

    def start_trial(self, spec: TrialSpec) -> None:
        self.specs.append(spec)

    def replace_trial(self, key: str) -> None:
        self.replaced.append(key)

    def log_epoch(self, key: str, report: EpochReport) -> None:
        self.points.append((key, report.epoch))

    def log_file(self, key: str | None, path: Path, folder: str) -> None:
        assert path.is_file()
        self.files.append((key, path.name, folder))

    def end_trial(self, record: TrialRecord) -> None:
        self.records.append(record)

    def log_trial(self, record: TrialRecord, metrics: Mapping[str, float]) -> None:
        self.logged.setdefault(record.key, {}).update(metrics)

    def log_view(self, view: StudyView) -> None:
        self.views.append(view)

    def describe(self, headline: str, note: str) -> None:
        self.descriptions.append((headline, note))

    def log_study(self, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        self.figures.update(metrics)
        self.study_tags.update(tags)

    def end_study(self, state: str) -> None:
        self.study_ends.append(state)

    def blocking_error(self) -> str | None:
        return None

    def close(self) -> None: ...

    def on_trial_start(self, spec: TrialSpec) -> None: ...

    def on_epoch_end(self, spec: TrialSpec, report: EpochReport, decision: Decision) -> None:
        self.decisions.append((spec.key, report.epoch, decision))

    def on_trial_end(self, record: TrialRecord) -> None:
        self.ended_records.append(record)

    def on_message(self, text: str) -> None:
        self.messages.append(text)

    def outcomes(self) -> dict[str, Outcome]:
        """Key to the last recorded outcome."""
        return {record.key: record.outcome for record in self.records}


@dataclasses.dataclass
class EngineHarness:
    """One study in memory, with its trial folders on disk. Each call of ``engine`` is a new session."""

    loaded: LoadedExperiment
    trials: Path
    storage: optuna.storages.InMemoryStorage = dataclasses.field(default_factory=optuna.storages.InMemoryStorage)
    witness: Witness = dataclasses.field(default_factory=Witness)
    cohort_size: int = 1

    def studies(self) -> tuple[optuna.Study, optuna.Study]:
        """The searched study and the controls."""
        return open_studies(self.storage, STUDY, num_costs=len(self.loaded.experiment.search.costs))

    def trial_store(self) -> TrialStore:
        """A new view on both."""
        return TrialStore(self.storage, *self.studies())

    def engine(self, *, num_trials: int | None = None) -> StudyEngine:
        """The engine of a new session."""
        experiment = self.loaded.experiment
        specs = SpecMaker(study=STUDY, experiment=experiment, trials_folder=self.trials, teacher_weights=None)
        return StudyEngine(
            self.loaded,
            self.trial_store(),
            specs,
            num_trials=experiment.search.num_trials if num_trials is None else num_trials,
            tracker=self.witness,
            callback=self.witness,
        )

    def run(self, engine: StudyEngine | None = None, *, stop_after_epochs: int | None = None) -> StudyEngine:
        """Run a session to its end, or until it has recorded a number of epochs."""
        engine = engine or self.engine()
        before = len(self.witness.decisions)

        def should_stop() -> bool:
            return stop_after_epochs is not None and len(self.witness.decisions) - before >= stop_after_epochs

        run_locally(engine, cohort_size=self.cohort_size, simulate=True, should_stop=should_stop, callback=self.witness)
        return engine

    def known(self) -> dict[int, StoredTrial]:
        """All trials on record by number."""
        return {trial.number: trial for trial in self.trial_store().trials()}

    def folder(self, key: str) -> TrialFolder:
        """The folder of a trial."""
        return TrialFolder(self.trials / key)

    def states(self) -> list[TrialState]:
        """The states of the searched trials in order."""
        return [trial.state for number, trial in sorted(self.known().items()) if number >= 0]


@dataclasses.dataclass(frozen=True)
class Computed:
    """An epoch that a simulated worker has computed, from the epoch log."""

    key: str
    epoch: int
    began_at: float
    ended_at: float


def read_epoch_log(path: Path) -> list[Computed]:
    """All epochs computed, in the order of their ends."""
    rows = (line.split() for line in path.read_text().splitlines())
    return [Computed(key, int(epoch), float(began_at), float(ended_at)) for key, epoch, began_at, ended_at in rows]


MakeLoaded = Callable[..., LoadedExperiment]
MakeHarness = Callable[..., EngineHarness]


def tell(
    harness: EngineHarness, engine: StudyEngine, spec: TrialSpec, epoch: int, score: float, **more: float
) -> Decision:
    """Report an epoch as a worker does: into the folder first."""
    report = EpochReport(epoch=epoch, metrics={METRIC: score, **more}, finished_at=time.time())
    harness.folder(spec.key).append(report)
    return engine.report(spec.key, report)


def take(engine: StudyEngine) -> TrialSpec:
    spec = engine.next_trial()
    assert spec is not None
    return spec
