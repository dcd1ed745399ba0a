"""Opens the two Optuna studies of a study: the searched trials and the controls."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import optuna
import sqlalchemy.exc

from distune.config.sqlite_url import sqlite_url
from distune.errors import DistuneError
from distune.study.storage.study_names import controls_name
from distune.tracking.uris import redact_uri

LOCKED_TIMEOUT_S = 60.0
"""Time that a write waits for another process that holds the database."""

STORAGE_ERRORS = (OSError, optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError)
"""Errors of a disk or a database that is full, missing, locked or read-only."""

PROCESS_CORRUPTED = "this process can train no other trial"
"""Part of the reason of a session that ends because an error has corrupted its process."""

_TEACHER = "file of the teacher"
_NO_STORAGE = (PROCESS_CORRUPTED, _TEACHER)
"""Parts of reasons for which the records can be written."""
_REMEDIES = {
    PROCESS_CORRUPTED: "resuming starts a new process",  # first: the error may contain any phrase
    "no space left": "free some space",
    "disk is full": "free some space",
    "quota": "free some space",
    # SQLite's message when there is no space for the file that its readers share.
    "disk i/o error": "check the disk and free some space",
    "read-only": "make it writable",
    "readonly": "make it writable",
    "permission": "make it writable",
    "another process": "stop that process",
    _TEACHER: "resuming prepares the teacher again",
    "locked": "stop the process that holds the database",
    "malformed": "the file is damaged: rebuild it by distune repair {study}",
    "not a database": "the file is damaged: rebuild it by distune repair {study}",
}


class StudyStoppedError(DistuneError):
    """A session could not continue for a reason outside the study. The study can be resumed."""


def stopped_error(study: str, error: BaseException | str, *, command: str = "resume") -> StudyStoppedError:
    """Return the error for a study that cannot continue now, mostly because its records cannot be written.

    Its message says what to do.

    Args:
        study: its name.
        error: one of ``STORAGE_ERRORS``, or a reason.
        command: distune's command that continues.

    Returns:
        The error, to be raised.
    """
    reason = redact_uri(error) if isinstance(error, str) else reason_of(error)
    remedy = next((advice for phrase, advice in _REMEDIES.items() if phrase in reason.lower()), "fix the cause")
    remedy = remedy.format(study=study)
    is_storage = not any(phrase in reason for phrase in _NO_STORAGE)
    cause = ", because its records cannot be written" if is_storage else ""
    return StudyStoppedError(
        f"study {study} stopped{cause}: {reason}; no recorded epoch is lost: {remedy}, "
        f"then run: {command_to_continue(study, command)}"
    )


def command_to_continue(study: str, command: str) -> str:
    """Return the command that continues a session of a study. Only ``resume`` is complete without options."""
    return f"distune {command} {study}{'' if command == 'resume' else ', with the same options'}"


def reason_of(error: BaseException) -> str:
    """Return the message of a disk or a database, as one line without secrets."""
    root = _root(error)
    return redact_uri(" ".join(str(root).split())) or type(root).__name__


def _root(error: BaseException) -> BaseException:
    """Return the database's own error, without the statement that SQLAlchemy adds and the advice that Optuna adds."""
    cause = error.__cause__
    if isinstance(error, optuna.exceptions.StorageInternalError) and cause is not None:
        return _root(cause)
    if isinstance(error, sqlalchemy.exc.DBAPIError) and error.orig is not None:
        return error.orig
    return error


@contextlib.contextmanager
def open_database(path: Path) -> Iterator[optuna.storages.BaseStorage]:
    """Open an SQLite storage, created with its tables if missing. Connections are closed on exit.

    Only the driver opens it: several processes that open a new file at once break its migration.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.RDBStorage(sqlite_url(path), engine_kwargs={"creator": lambda: _connect(path)})
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _connect(path: Path) -> sqlite3.Connection:
    """Open a connection whose readers, such as `distune status` and optuna-dashboard, never block the study.

    A commit survives a crash of the process at once, and one of the machine after some seconds; otherwise each commit
    would wait for the disk. Commits that a crash of the machine loses are restored from the trials' folders.
    """
    connection = sqlite3.connect(path, timeout=LOCKED_TIMEOUT_S, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    return connection


class _ByFirstObjective(optuna.Study):
    """A study with several objectives whose stopped trials are ranked by the first one.

    Optuna's TPE reads ``direction`` to rank stopped trials, which raises for several objectives. Stopped trials have
    only scores, the first objective.
    """

    @property
    def direction(self) -> optuna.study.StudyDirection:
        """Direction of the score."""
        return self.directions[0]


def open_studies(
    storage: optuna.storages.BaseStorage, name: str, *, num_costs: int = 0
) -> tuple[optuna.Study, optuna.Study]:
    """Open the study of the searched trials and the study of the controls, created if missing.

    Args:
        storage: of both.
        name: of the study in Optuna.
        num_costs: number of costs that are minimized besides the score, of searched trials only. A study that exists
            keeps its own number.

    Returns:
        The study of the searched trials, and the study of the controls.
    """
    search_study = _open_study(storage, name, num_costs)
    if len(search_study.directions) > 1:
        search_study = _ByFirstObjective(name, storage)
    return search_study, _open_study(storage, controls_name(name))


def _open_study(storage: optuna.storages.BaseStorage, name: str, num_costs: int = 0) -> optuna.Study:
    # Not `create_study(load_if_exists=True)`: it writes first, and so waits for other writers.
    try:
        return optuna.load_study(storage=storage, study_name=name)
    except KeyError:
        maximize, minimize = optuna.study.StudyDirection.MAXIMIZE, optuna.study.StudyDirection.MINIMIZE
        directions = [maximize, *[minimize] * num_costs]
        return optuna.create_study(storage=storage, study_name=name, directions=directions, load_if_exists=True)
