"""Gathers the facts of a study for the report page from its folder: trials, epochs, result, settings, versions."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from distune.api.measure_sizes import known_sizes
from distune.bounded_read import read_bounded
from distune.config.home import Home
from distune.config.load import LoadedExperiment
from distune.confirmation.confirmation_text import explain
from distune.errors import StudyError
from distune.evidence.confirmation_result import ConfirmationResult
from distune.records import EpochReport, TrialRecord
from distune.reports.page.page_input import Settings, StudyFacts
from distune.reports.warnings_text import warning_lines
from distune.study.failures.failed_study import describe_failed_controls
from distune.study.files.artifacts import shown_settings
from distune.study.files.study_folder import StudyFolder
from distune.study.schedulers.asha import rungs
from distune.study.status import StudyStatus, confirmed_trial
from distune.tracking.uris import redact_uri
from distune.training.trial_folder import TrialFolder
from distune.version import VERSION

_LIBRARIES = ("torch", "torchvision", "ray", "optuna", "mlflow")


def study_facts(folder: StudyFolder, home: Home, status: StudyStatus, loaded: LoadedExperiment) -> StudyFacts:
    """Gather the trials of a study, their epochs, and its result.

    Args:
        folder: of the study.
        home: holds the teacher.
        status: of the study.
        loaded: settings of the study.

    Returns:
        The facts.
    """
    experiment = loaded.experiment
    winner = _winner(status)
    scheduler = experiment.search.scheduler.model_dump()
    confirmation = status.confirmation
    failed_controls = None if status.state == "running" else describe_failed_controls(status.trials)
    return StudyFacts(
        study=status.study,
        title=status.title,
        simulated=status.simulated,
        state=status.state,
        reason=None if status.reason is None else redact_uri(status.reason),
        metric=status.metric,
        trials=[_redacted(trial) for trial in status.trials],
        reports={trial.number: folder.trial(trial.number).reports() for trial in status.trials},
        num_trials=folder.num_trials(experiment),
        num_epochs=experiment.training.epochs,
        scheduler=scheduler["kind"],
        rungs=_rungs(scheduler, experiment.training.epochs),
        winner=winner,
        teacher_score=status.teacher_value,
        teacher_unknown=status.teacher_unknown,
        teacher_reports=_teacher_reports(folder, home),
        costs=status.costs,
        pareto_front=frozenset(trial.number for trial in status.pareto_front),
        sizes=None if winner is None else known_sizes(folder, experiment, status),
        confirmation=confirmation,
        confirmation_lines=[] if confirmation is None else _confirmation_lines(confirmation, folder),
        warnings=[
            *([f"the gain is unknown: {failed_controls}"] if failed_controls is not None else []),
            *(str(group) for group in status.identical_trials),
            *warning_lines(status.trials),
        ],
        description=experiment.description,
    )


def repeat_settings(folder: StudyFolder, loaded: LoadedExperiment) -> Settings:
    """Return the settings and commands that repeat a study, without secrets, with the versions of this machine."""
    name, identity = folder.name, folder.identity()
    simulate = " --simulate" if identity.simulate else ""
    confirmation = folder.confirmation.read()
    launch = f"distune launch {name}.yaml --name {name} --set search.space={name}-space.yaml"
    num_trials = folder.num_trials(loaded.experiment)
    if num_trials != loaded.experiment.search.num_trials:  # by distune resume --trials
        launch += f" --set search.num_trials={num_trials}"
    commands = [f"{launch} --runner {identity.runner}{simulate}"]
    if confirmation is not None and not _is_race(confirmation, loaded):
        commands.append(_confirm_command(name, confirmation, loaded))
    commands.append(f"distune report {name}")
    return Settings(
        experiment=shown_settings(loaded.experiment),
        space=folder.space_file.read_text(encoding="utf-8"),
        commands=commands,
        versions=_versions(identity.version),
        data_card=_data_card(folder.data_card_file),
    )


def _is_race(confirmation: ConfirmationResult, loaded: LoadedExperiment) -> bool:
    """Return whether a launch ends with this confirmation."""
    return loaded.experiment.search.confirm == "race" and confirmation.max_seeds is not None


def _confirm_command(name: str, confirmation: ConfirmationResult, loaded: LoadedExperiment) -> str:
    words = [f"distune confirm {name} --top {len(confirmation.candidates)}"]
    if confirmation.max_seeds is None:
        words.append(f"--seeds {len(confirmation.seeds)}")
    else:
        words.append(f"--until-decided --max-seeds {confirmation.max_seeds}")
        words += [] if confirmation.margin is None else [f"--margin {confirmation.margin:g}"]
    if confirmation.gain.num_teachers > 1:
        words.append(f"--teachers {confirmation.gain.num_teachers}")
    if confirmation.metric != loaded.experiment.search.metric:
        words.append(f"--metric {confirmation.metric}")
    return " ".join(words)


def _winner(status: StudyStatus) -> TrialRecord | None:
    with contextlib.suppress(StudyError):
        return confirmed_trial(status)
    return None


def _rungs(scheduler: dict[str, Any], num_epochs: int) -> tuple[int, ...]:
    if scheduler["kind"] != "asha":
        return ()
    return rungs(scheduler["grace_epochs"], num_epochs, scheduler["reduction_factor"])


def _redacted(trial: TrialRecord) -> TrialRecord:
    return trial if trial.reason is None else dataclasses.replace(trial, reason=redact_uri(trial.reason))


def _teacher_reports(folder: StudyFolder, home: Home) -> list[EpochReport]:
    teacher = folder.teacher()
    return [] if teacher is None else TrialFolder(home.teachers / teacher.weights.parent.name).reports()


def _confirmation_lines(result: ConfirmationResult, folder: StudyFolder) -> list[str]:
    """Return the explanation of a result, without paths of this machine."""
    return [line.strip().replace(f"{folder.path}/", "") for line in explain(result, folder.path)]


def _versions(created_by: str) -> dict[str, str]:
    found = {"distune": VERSION if created_by == VERSION else f"{VERSION} (study created by {created_by})"}
    found["python"] = platform.python_version()
    for library in _LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[library] = metadata.version(library)
    return found


def _data_card(file: Path) -> dict[str, Any] | None:
    try:
        card = dict(json.loads(read_bounded(file)))
    except (OSError, ValueError, TypeError):
        return None
    return card if {"splits", "classes", "quantiles"} <= card.keys() else None
