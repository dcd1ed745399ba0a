"""Opens the Optuna storage of a study: the search_study study and, beside it, the study of its controls."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import optuna
import sqlalchemy.exc

from distune.errors import DistuneError
from distune.tracking.uris import redact_uri

LOCKED_TIMEOUT_S = 60.0
"""How long a write waits for another process that holds the database."""

STORAGE_ERRORS = (OSError, optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError)
"""What comes out of a disk or a database that is full, away, locked or read-only."""

_REMEDIES = {
    "no space left": "free some space",
    "disk is full": "free some space",
    "quota": "free some space",
    # What SQLite says where there is no room for the file that its readers share.
    "disk i/o error": "see whether the disk is whole and free some space",
    "read-only": "make it writable",
    "readonly": "make it writable",
    "permission": "make it writable",
    "another process": "end that process",
    "locked": "end the process that holds the database",
    "malformed": "restore optuna.db from a copy: the file is damaged",
    "not a database": "restore optuna.db from a copy: the file is damaged",
}


class StudyStoppedError(DistuneError):
    """A session could not go on, for a reason that lies outside of the study. The study can be resumed."""


def stopped(study: str, error: BaseException | str, *, verb: str = "resume") -> StudyStoppedError:
    """What to tell a person whose study cannot go on: what is wrong, and what to do.

    Args:
        study: its name.
        error: one of ``STORAGE_ERRORS``, or a reason in words.
        verb: what goes on with it on the command line.
    """
    words = redact_uri(error) if isinstance(error, str) else reason_of(error)
    remedy = next((advice for phrase, advice in _REMEDIES.items() if phrase in words.lower()), "mend that")
    return StudyStoppedError(
        f"study {study} has stopped, because its records cannot be kept: {words}; nothing on record is lost: {remedy}, "
        f"then go on with: distune {verb} {study}"
    )


def reason_of(error: BaseException) -> str:
    """What a disk or a database says, in a line without secrets."""
    root = _root(error)
    return redact_uri(" ".join(str(root).split())) or type(root).__name__


def _root(error: BaseException) -> BaseException:
    """The database's own words, without the statement that SQLAlchemy adds and the advice that Optuna does."""
    cause = error.__cause__
    if isinstance(error, optuna.exceptions.StorageInternalError) and cause is not None:
        return _root(cause)
    if isinstance(error, sqlalchemy.exc.DBAPIError) and error.orig is not None:
        return error.orig
    return error


def controls_name(study: str) -> str:
    """Name of the Optuna study that holds the controls of ``study``. Study names hold no spaces, so it is free.

    Controls have no parameters. Within the search_study study they would empty the search space that its trials have in
    common, which multivariate TPE, GP, CMA-ES and the importances are computed on: docs/decisions/control_study.md.
    """
    return f"{study} controls"


@contextlib.contextmanager
def open_database(path: Path) -> Iterator[optuna.storages.BaseStorage]:
    """An SQLite storage, made with its tables when the file is new. Connections are closed on exit.

    Only the driver opens it: a new file that is opened by several processes at once breaks in its migration.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}", engine_kwargs={"creator": lambda: _connect(path)})
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _connect(path: Path) -> sqlite3.Connection:
    """A connection whose readers, such as `distune status` and optuna-dashboard, never block the study.

    A commit survives the end of the process at once, and that of the machine after some seconds: each one would wait
    for the disk otherwise. What the last seconds cost then is no more than what the trials' folders tell anyway.
    """
    connection = sqlite3.connect(path, timeout=LOCKED_TIMEOUT_S, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    return connection


class _ByFirstObjective(optuna.Study):
    """A study with several objectives whose stopped trials are ranked by the first one.

    Optuna's TPE asks for *the* direction when it ranks stopped trials, and there it would raise. What they have on
    record while they run is the score alone.
    """

    @property
    def direction(self) -> optuna.study.StudyDirection:
        """Of the score."""
        return self.directions[0]


def open_studies(
    storage: optuna.storages.BaseStorage, name: str, *, num_costs: int = 0
) -> tuple[optuna.Study, optuna.Study]:
    """The search_study study and the study of its controls, made when they are new.

    The score is maximised; so many costs are minimised beside it, of the searched trials alone. A study that is there
    already keeps its own number of them.
    """
    search_study = _open_study(storage, name, num_costs)
    if len(search_study.directions) > 1:
        search_study = _ByFirstObjective(name, storage)
    return search_study, _open_study(storage, controls_name(name))


def _open_study(storage: optuna.storages.BaseStorage, name: str, num_costs: int = 0) -> optuna.Study:
    # Not `create_study(load_if_exists=True)`, which tries to write first and so waits for whoever is writing.
    try:
        return optuna.load_study(storage=storage, study_name=name)
    except KeyError:
        maximize, minimize = optuna.study.StudyDirection.MAXIMIZE, optuna.study.StudyDirection.MINIMIZE
        directions = [maximize, *[minimize] * num_costs]
        return optuna.create_study(storage=storage, study_name=name, directions=directions, load_if_exists=True)
