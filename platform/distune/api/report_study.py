"""Writes the report page of a study: gathers its values from the study's folder, and renders them."""

from __future__ import annotations

import contextlib
import json
import platform
import time
from collections.abc import Callable
from importlib import metadata
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distune.atomic_write import write_atomically
from distune.config.experiment import Experiment
from distune.config.home import Home
from distune.config.load import LoadedExperiment
from distune.confirmation.confirmation_text import explain
from distune.errors import DistuneError, StudyError, UsageError
from distune.evidence.confirmation_result import ConfirmationResult
from distune.records import EpochReport, TrialRecord
from distune.reports.model_sizes import ModelSizes
from distune.reports.page.page_input import (
    Explanation,
    PageInput,
    ParameterPlots,
    Pictures,
    Settings,
    StudyFacts,
)
from distune.reports.warnings_text import warning_lines
from distune.study.failures.failed_study import describe_failed_controls
from distune.study.files.artifacts import shown_settings
from distune.study.files.sizes_file import architecture_hash, read_sizes
from distune.study.files.study_folder import StudyFolder
from distune.study.schedulers.asha import rungs
from distune.study.status import StudyStatus, confirmed_trial, read_study
from distune.tracking.uris import redact_uri
from distune.version import VERSION

if TYPE_CHECKING:
    from distune.tracking.tracker import Tracker

REPORT_FILE = "report.html"
_LIBRARIES = ("torch", "torchvision", "ray", "optuna", "mlflow")

OnMessage = Callable[[str], None]


def write_report(
    folder: StudyFolder,
    home: Home,
    *,
    output: str | PathLike[str] | None = None,
    explanation: Explanation | None = None,
    with_pictures: bool = True,
    on_message: OnMessage,
) -> Path:
    """Write the report page of a study.

    Args:
        folder: of the study.
        home: holds the teacher.
        output: the file; ``report/report.html`` in the study's folder when None.
        explanation: findings, tables and figures about the gain; None leaves the section out.
        with_pictures: run the models on images where their detections are not kept.
        on_message: receives a line for each step that takes long.

    Returns:
        The file.

    Raises:
        StudyError: the study cannot be read.
        UsageError: the file cannot be written.
    """
    from distune.reports.page.render_page import render_page

    file = folder.path / "report" / REPORT_FILE if output is None else Path(output)
    if file.is_dir():
        raise UsageError(f"{file} is a folder: name a file for the report, such as {file / REPORT_FILE}")
    status, loaded = read_study(home, folder.name), folder.load()
    facts = study_facts(folder, home, status, loaded)
    page = PageInput(
        facts=facts,
        settings=_settings(folder, loaded),
        explanation=explanation or Explanation(),
        parameters=_parameters(folder, loaded.experiment, facts),
        pictures=_pictures(folder, home, status, on_message) if with_pictures else _without_pictures(status),
    )
    html = render_page(page, written_at=time.time()).encode()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, html)
    except OSError as error:
        raise UsageError(f"{file}: the report cannot be written: {error.strerror or error}") from None
    return file


def write_session_report(
    folder: StudyFolder, home: Home, tracker: Tracker, on_message: OnMessage, *, with_pictures: bool = True
) -> None:
    """Write the report page at the end of a session, and log it. No error ends the session.

    Args:
        folder: of the study.
        home: holds the teacher.
        tracker: receives the file.
        on_message: receives the path of the page, or why there is none.
        with_pictures: as for ``write_report``; a session that was interrupted should end soon.
    """
    try:
        file = write_report(folder, home, with_pictures=with_pictures, on_message=on_message)
        tracker.log_file(None, file, "report")
        on_message(f"report: {file}")
    except Exception as error:  # the study has ended, and its results are on disk
        line = " ".join(str(error).split()) or type(error).__name__
        on_message(f"report: the page cannot be written: {redact_uri(line)}; try again: distune report {folder.name}")


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
        teacher_reports=_teacher_reports(folder, home),
        costs=status.costs,
        pareto_front=frozenset(trial.number for trial in status.pareto_front),
        sizes=_sizes(folder, experiment, winner),
        confirmation=confirmation,
        confirmation_lines=[] if confirmation is None else _confirmation_lines(confirmation, folder),
        warnings=[
            *([f"the gain is unknown: {failed_controls}"] if failed_controls is not None else []),
            *(str(group) for group in status.identical_trials),
            *warning_lines(status.trials),
        ],
        description=experiment.description,
    )


def _winner(status: StudyStatus) -> TrialRecord | None:
    with contextlib.suppress(StudyError):
        return confirmed_trial(status)
    return None


def _rungs(scheduler: dict[str, Any], num_epochs: int) -> tuple[int, ...]:
    if scheduler["kind"] != "asha":
        return ()
    return rungs(scheduler["grace_epochs"], num_epochs, scheduler["reduction_factor"])


def _redacted(trial: TrialRecord) -> TrialRecord:
    import dataclasses

    return trial if trial.reason is None else dataclasses.replace(trial, reason=redact_uri(trial.reason))


def _teacher_reports(folder: StudyFolder, home: Home) -> list[EpochReport]:
    from distune.training.trial_folder import TrialFolder

    teacher = folder.teacher()
    return [] if teacher is None else TrialFolder(home.teachers / teacher.weights.parent.name).reports()


def _sizes(folder: StudyFolder, experiment: Experiment, winner: TrialRecord | None) -> ModelSizes | None:
    return None if winner is None else read_sizes(folder.sizes_file, architecture_hash(experiment, winner.params))


def _confirmation_lines(result: ConfirmationResult, folder: StudyFolder) -> list[str]:
    """Return the explanation of a result, without paths of this machine."""
    return [line.strip().replace(f"{folder.path}/", "") for line in explain(result, folder.path)]


def _parameters(folder: StudyFolder, experiment: Experiment, facts: StudyFacts) -> ParameterPlots:
    if not facts.searched:
        return ParameterPlots(problems=["No trial has started yet."])
    from distune.api.report_parameters import parameter_plots
    from distune.study.storage.storage_url import copy_search_study

    return parameter_plots(copy_search_study(folder, experiment.search.storage), metric=facts.metric_title)


def _pictures(folder: StudyFolder, home: Home, status: StudyStatus, on_message: OnMessage) -> Pictures:
    """Return the pictures, or the sentence that says why there are none."""
    if status.simulated:
        return Pictures()
    from distune.api.report_pictures import study_pictures

    try:
        return study_pictures(folder, home, status, on_message=on_message)
    except (DistuneError, OSError, RuntimeError) as error:
        return Pictures(problems=[f"There are no pictures: {redact_uri(str(error))}"])


def _without_pictures(status: StudyStatus) -> Pictures:
    if status.simulated:
        return Pictures()
    return Pictures(
        problems=[f"Pictures are left out, since the session has not finished. distune report {status.study}"]
    )


def _settings(folder: StudyFolder, loaded: LoadedExperiment) -> Settings:
    name, identity = folder.name, folder.identity()
    simulate = " --simulate" if identity.simulate else ""
    confirmation = folder.confirmation.read()
    launch = f"distune launch {name}.yaml --name {name} --set search.space={name}-space.yaml"
    commands = [f"{launch} --runner {identity.runner}{simulate}"]
    if confirmation is not None:
        commands.append(
            f"distune confirm {name} --top {len(confirmation.candidates)} --seeds {len(confirmation.seeds)}"
        )
    commands.append(f"distune report {name}")
    return Settings(
        experiment=shown_settings(loaded.experiment),
        space=folder.space_file.read_text(encoding="utf-8"),
        commands=commands,
        versions=_versions(identity.version),
        data_card=_data_card(folder.data_card_file),
    )


def _versions(created_by: str) -> dict[str, str]:
    found = {"distune": VERSION if created_by == VERSION else f"{VERSION} (study created by {created_by})"}
    found["python"] = platform.python_version()
    for library in _LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[library] = metadata.version(library)
    return found


def _data_card(file: Path) -> dict[str, Any] | None:
    try:
        card = dict(json.loads(file.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return card if {"splits", "classes", "quantiles"} <= card.keys() else None
