"""Build a tracker from the tracking settings, and report their errors at launch."""

from __future__ import annotations

import contextlib
import logging
import re
import sqlite3
from pathlib import Path

import filelock

from distune.config.home import Home
from distune.config.search import TrackingSettings
from distune.config.sqlite_url import sqlite_url
from distune.errors import UsageError
from distune.tracking.artifact_location import update_artifact_locations
from distune.tracking.mlflow_client import open_client
from distune.tracking.mlflow_sink import MlflowSink
from distune.tracking.resend import note_loss, sent_bytes
from distune.tracking.run_names import experiment_name
from distune.tracking.sink import SinkUnavailableError
from distune.tracking.spool_tracker import SpoolTracker
from distune.tracking.store_version import check_store_version
from distune.tracking.tracker import NullTracker, Tracker
from distune.tracking.uris import check_uri, is_database, redact_uri, scheme_of

_LOG = logging.getLogger(__name__)

_SQLITE_HEADER = b"SQLite format 3\0"
_STUDY_KEY_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")


def check_tracking(settings: TrackingSettings, home: Home) -> None:
    """Check the tracking settings before anything is trained. A server is not called, and nothing is written.

    Args:
        settings: the experiment's ``tracking``.
        home: has the default store.

    Raises:
        UsageError: the URI is invalid, or the database in that file is of another release of MLflow.
    """
    if not settings.enabled:
        return
    uri = settings.uri or home.tracking_uri
    check_uri(uri)
    if scheme_of(uri) == "sqlite":
        _check_file(_sqlite_path(uri), uri)


def build_tracker(
    settings: TrackingSettings,
    *,
    home: Home,
    study_folder: Path,
    study: str,
    study_key: str,
    experiment: str,
    simulated: bool = False,
) -> Tracker:
    """Build the tracker of a study. A server is not called: it may be unavailable when the study starts.

    Args:
        settings: the experiment's ``tracking``.
        home: has the default store, and the artifacts of databases.
        study_folder: holds the spool.
        study: name of the study.
        study_key: identifies this study among all others, also those of the same name.
        experiment: name of the MLflow experiment when the settings name none.
        simulated: whether learning curves are simulated; see ``experiment_name``.

    Returns:
        A tracker that writes to the spool; a ``NullTracker`` when tracking is disabled.

    Raises:
        UsageError: the URI is invalid, the database cannot be created or is of another release of MLflow, or the spool
            cannot be opened.
    """
    if not settings.enabled:
        return NullTracker()
    assert _STUDY_KEY_PATTERN.fullmatch(study_key), f"invalid study key: {study_key}"
    uri = settings.uri or home.tracking_uri
    name = experiment_name(settings.experiment, experiment, simulated=simulated)
    check_uri(uri)
    if scheme_of(uri) == "databricks" and not name.startswith("/"):
        raise UsageError(f"tracking.experiment = {name}: Databricks requires a path, such as /Users/you/{name}")
    if scheme_of(uri) == "sqlite":
        initialize_sqlite(uri)
    if settings.uri is None:
        follow_home(home)
    elif scheme_of(uri) == "sqlite":
        follow_home(home, database=_sqlite_path(uri))
    artifact_location = home.artifacts.absolute().as_uri() if is_database(uri) else None

    was_sent = sent_bytes(study_folder) > 0

    def make_sink() -> MlflowSink:
        sink = MlflowSink(
            uri,
            study=study,
            study_key=study_key,
            experiment=name,
            artifact_location=artifact_location,
            simulated=simulated,
        )
        if was_sent and not sink.has_runs():
            note_loss(study_folder)
            _LOG.warning(
                "%s has no run of study %s, although its records were sent before; to send them again after this "
                "session: distune repair %s",
                redact_uri(uri),
                study,
                study,
            )
        return sink

    try:
        return SpoolTracker(study_folder, make_sink=make_sink)
    except OSError as error:
        raise UsageError(f"study {study}: the spool of its events for MLflow cannot be opened: {error}") from None


def initialize_sqlite(uri: str) -> None:
    """Create a SQLite store if there is none, safe against other processes and against a kill in between.

    Args:
        uri: of the database file.

    Raises:
        UsageError: the database cannot be created, is of another release of MLflow, or the file is another one.
    """
    path = _sqlite_path(uri)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(path.with_name(f".{path.name}.lock")):
            if path.is_file() and path.stat().st_size > 0:
                _check_file(path, uri)
                return
            unfinished = path.with_name(f".{path.name}.new")
            unfinished.unlink(missing_ok=True)
            open_client(sqlite_url(unfinished))
            unfinished.replace(path)
    except (OSError, SinkUnavailableError) as error:
        raise UsageError(f"tracking.uri = {redact_uri(uri)}: the database cannot be created: {error}") from None


def follow_home(home: Home, *, database: Path | None = None) -> None:
    """Let the store of a home follow it, when the home was moved or copied.

    Args:
        home: has the artifacts; nothing happens while there is no store.
        database: a store that the user has named, which other homes may use; None is that of the home.

    Raises:
        UsageError: the database cannot be read or written.
    """
    is_shared = database is not None and database != home.database
    database = database or home.database
    try:
        if database.is_file():
            with filelock.FileLock(database.with_name(f".{database.name}.lock")):
                update_artifact_locations(database, home.artifacts, is_shared=is_shared)
    except (OSError, sqlite3.Error) as error:
        raise UsageError(f"{database}: the places of its artifacts cannot be updated: {error}") from None


def store_file(uri: str) -> Path | None:
    """Return the file of a store; None when it is no SQLite database."""
    return _sqlite_path(uri) if scheme_of(uri) == "sqlite" else None


def _check_file(path: Path, uri: str) -> None:
    """Check that a file, if there is one, is an SQLite database with the tables of the installed MLflow."""
    import sqlalchemy.exc

    if not path.is_file() or path.stat().st_size == 0:
        return
    with path.open("rb") as file:
        if file.read(len(_SQLITE_HEADER)) != _SQLITE_HEADER:
            raise UsageError(f"tracking.uri = {redact_uri(uri)}: {path} is not a SQLite database; name another file")
    with contextlib.suppress(sqlalchemy.exc.SQLAlchemyError):  # such as a lock: the tracker waits for it
        check_store_version(uri)


def _sqlite_path(uri: str) -> Path:
    import sqlalchemy.engine

    database = sqlalchemy.engine.make_url(uri).database or "mlflow.db"
    return Path(database.removeprefix("file:")).absolute()  # SQLite's own URIs, as in sqlite:///file:PATH?uri=true
