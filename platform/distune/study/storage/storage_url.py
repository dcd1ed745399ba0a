"""The setting ``search.storage``: SQLite in the study's folder, a journal there for network disks, or a database."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator

import optuna
import sqlalchemy
import sqlalchemy.engine
import sqlalchemy.exc
import sqlalchemy.pool
import sqlalchemy.schema
from optuna.storages.journal import JournalFileBackend

from distune.config.sqlite_url import sqlite_url
from distune.errors import DistuneError, StudyError, UsageError
from distune.study.files.study_folder import StudyFolder, StudyIdentity
from distune.study.storage.optuna_storage import STORAGE_ERRORS, open_database, reason_of
from distune.tracking.uris import redact_uri

JOURNAL = "journal"
_SCHEMA = "optuna"


def check_storage(setting: str | None) -> None:
    """Check the setting without opening a connection.

    Args:
        setting: ``search.storage``.

    Raises:
        UsageError: it is neither ``journal`` nor the URL of a database, or the database's driver is not installed.
    """
    if setting in (None, JOURNAL):
        return
    shown = f"search.storage = {redact_uri(setting)}"
    try:
        dialect = sqlalchemy.engine.make_url(setting).get_dialect()
        dialect.import_dbapi()
    except ImportError as error:
        raise UsageError(f"{shown}: the driver of this database is not installed ({error})") from None
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise UsageError(
            f"{shown}: must be null (an SQLite file in the study's folder), {JOURNAL} (a file there that works on "
            f"network disks), or a database URL such as postgresql://user@host/optuna"
        ) from None
    if dialect.name == "sqlite":
        raise UsageError(f"{shown}: remove it to use an SQLite file in the study's folder")


def optuna_name(identity: StudyIdentity, setting: str | None) -> str:
    """Return the name of a study in Optuna. In a shared database, the name of the study alone may be in use."""
    return identity.name if setting in (None, JOURNAL) else identity.tracking_key


def shown_storage(setting: str | None) -> str | None:
    """Return ``search.storage`` without secrets."""
    return None if setting is None else redact_uri(setting)


def exists(folder: StudyFolder, setting: str | None) -> bool:
    """Return whether the storage of a study exists. A database, which would need a connection, counts as existing."""
    if setting is None:
        return folder.database.is_file()
    return setting != JOURNAL or folder.journal.is_file()


def storage_location(folder: StudyFolder, setting: str | None) -> str:
    """Return the path or URL of the storage of a study, without secrets."""
    files = {None: folder.database, JOURNAL: folder.journal}
    return str(files[setting]) if setting in files else redact_uri(str(setting))


@contextlib.contextmanager
def damage_reported(folder: StudyFolder, setting: str | None) -> Iterator[None]:
    """Report records that Optuna cannot interpret as a ``StudyError``. Errors of a disk or a database pass."""
    try:
        yield
    except (DistuneError, *STORAGE_ERRORS):
        raise
    except Exception as error:
        raise StudyError(
            f"study {folder.name}: {storage_location(folder, setting)} is damaged ({reason_of(error)}); rebuild it: "
            f"distune repair {folder.name}"
        ) from error


@contextlib.contextmanager
def open_storage(folder: StudyFolder, setting: str | None) -> Iterator[optuna.storages.BaseStorage]:
    """Open the storage of a study, created with its tables if missing. Connections are closed on exit.

    Args:
        folder: of the study.
        setting: ``search.storage``; see ``check_storage``.

    Yields:
        The storage.

    Raises:
        StudyError: its tables are of another release of Optuna.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if setting == JOURNAL:
        yield optuna.storages.JournalStorage(JournalFileBackend(str(folder.journal)))
        return
    url = sqlite_url(folder.database) if setting is None else _in_own_schema(setting)
    with contextlib.ExitStack() as stack:
        try:
            opened = open_database(folder.database) if setting is None else _open_shared(url)
            storage = stack.enter_context(opened)
        except RuntimeError as error:
            problem = _version_problem(str(error), url)
            if problem is None:
                raise
            raise StudyError(f"study {folder.name}: {storage_location(folder, setting)}: {problem}") from None
        yield storage


@contextlib.contextmanager
def _open_shared(url: str) -> Iterator[optuna.storages.BaseStorage]:
    storage = optuna.storages.RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _version_problem(message: str, url: str) -> str | None:
    """Return what to do about tables of another release of Optuna; None for a message about another thing."""
    if "table schema" not in message:
        return None
    if "storage upgrade" not in message:  # Optuna knows the version of an earlier release only
        return f"its tables are of a later release of Optuna than {optuna.__version__}; install that release"
    return (
        f"its tables are of an earlier release of Optuna than {optuna.__version__}; copy the database, then run: "
        f"optuna storage upgrade --storage {shlex.quote(redact_uri(url))}"
    )


def _in_own_schema(setting: str) -> str:
    """Return the URL of a PostgreSQL database with Optuna's tables in the schema ``optuna``, created if missing.

    Optuna and MLflow both keep the version of their tables in a table ``alembic_version``: in one schema, the second of
    them finds the other's version and fails. A URL that has ``options`` is returned unchanged.
    """
    url = sqlalchemy.engine.make_url(setting)
    if url.get_backend_name() != "postgresql" or "options" in url.query:
        return setting
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool)
    if _SCHEMA not in sqlalchemy.inspect(engine).get_schema_names():
        with engine.begin() as connection:
            connection.execute(sqlalchemy.schema.CreateSchema(_SCHEMA, if_not_exists=True))
    return url.update_query_dict({"options": f"-csearch_path={_SCHEMA}"}).render_as_string(hide_password=False)
