"""Writes the report page of a study: gathers its values, and renders them."""

from __future__ import annotations

import time
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from distune.api.explain import explain_study
from distune.api.report_facts import repeat_settings, study_facts
from distune.atomic_write import write_atomically
from distune.config.experiment import Experiment
from distune.config.home import Home
from distune.errors import DistuneError, UsageError
from distune.reports.page.page_input import PageInput, ParameterPlots, Pictures, StudyFacts
from distune.study.files.study_folder import StudyFolder
from distune.study.status import StudyStatus, read_study
from distune.tracking.uris import redact_uri

if TYPE_CHECKING:
    from distune.tracking.tracker import Tracker

REPORT_FILE = "report.html"
_MAX_IMAGES_AT_END = 500
"""Search images on which the end of a session runs detectors for the explanation."""

OnMessage = Callable[[str], None]


def write_report(
    folder: StudyFolder,
    home: Home,
    *,
    output: str | PathLike[str] | None = None,
    with_pictures: bool = True,
    max_images: int | None = None,
    is_running: bool | None = None,
    on_message: OnMessage,
) -> Path:
    """Write the report page of a study.

    Args:
        folder: of the study.
        home: holds the teacher.
        output: the file; ``report/report.html`` in the study's folder when None.
        with_pictures: False runs no detector, and leaves pictures out: they may need minutes.
        max_images: see ``explain_study``.
        is_running: see ``read_study``.
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
    status, loaded = read_study(home, folder.name, is_running=is_running), folder.load()
    facts = study_facts(folder, home, status, loaded)
    page = PageInput(
        facts=facts,
        settings=repeat_settings(folder, loaded),
        explanation=explain_study(
            folder, home, status, on_message=on_message, max_images=max_images if with_pictures else 0
        ),
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
        file = write_report(
            folder,
            home,
            with_pictures=with_pictures,
            max_images=_MAX_IMAGES_AT_END,
            is_running=False,  # this session holds the lock
            on_message=on_message,
        )
        tracker.log_file(None, file, "report")
        on_message(f"report: {file}")
    except Exception as error:  # the study has ended, and its results are on disk
        line = " ".join(str(error).split()) or type(error).__name__
        on_message(f"report: the page cannot be written: {redact_uri(line)}; try again: distune report {folder.name}")


def _parameters(folder: StudyFolder, experiment: Experiment, facts: StudyFacts) -> ParameterPlots:
    if not facts.searched:
        return ParameterPlots(problems=["No trial has started yet."])
    from distune.api.report_parameters import parameter_plots
    from distune.study.storage.copy_study import copy_search_study

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
