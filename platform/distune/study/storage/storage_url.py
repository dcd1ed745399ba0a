"""Where Optuna keeps the trials of a study: SQLite in its folder, a journal there for network disks, or a database."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import optuna
import sqlalchemy
import sqlalchemy.engine
import sqlalchemy.exc
import sqlalchemy.pool
import sqlalchemy.schema
from optuna.storages.journal import JournalFileBackend

from distune.errors import UsageError
from distune.study.files.study_folder import StudyFolder, StudyIdentity
from distune.study.storage.optuna_storage import open_database
from distune.tracking.uris import redact_uri

JOURNAL = "journal"
_SCHEMA = "optuna"


def check_storage(setting: str | None) -> None:
    """Find out at launch what would otherwise come up later. Opens no connection.

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
            f"{shown}: must be missing (an SQLite file in the study's folder), {JOURNAL} (a file there that network "
            f"disks can hold), or a database URL such as postgresql://user@host/optuna"
        ) from None
    if dialect.name == "sqlite":
        raise UsageError(f"{shown}: leave it out, and an SQLite file is kept in the study's folder")


def optuna_name(identity: StudyIdentity, setting: str | None) -> str:
    """What Optuna calls a study. A database is shared by many, and a name alone may be in use there."""
    return identity.name if setting in (None, JOURNAL) else identity.tracking_key


def shown_storage(setting: str | None) -> str | None:
    """``search.storage`` as it may be shown and kept: without secrets."""
    return None if setting is None else redact_uri(setting)


def exists(folder: StudyFolder, setting: str | None) -> bool:
    """Whether the storage of a study is there; of a database nobody can say without a connection."""
    if setting is None:
        return folder.database.is_file()
    return setting != JOURNAL or folder.journal.is_file()


def place(folder: StudyFolder, setting: str | None) -> str:
    """Where the storage of a study is, in words without secrets."""
    files = {None: folder.database, JOURNAL: folder.journal}
    return str(files[setting]) if setting in files else redact_uri(str(setting))


@contextlib.contextmanager
def open_storage(folder: StudyFolder, setting: str | None) -> Iterator[optuna.storages.BaseStorage]:
    """The storage of a study, made with its tables when it is new. Connections are closed on exit.

    Args:
        folder: of the study.
        setting: ``search.storage``; see ``check_storage``.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if setting is None:
        with open_database(folder.database) as storage:
            yield storage
    elif setting == JOURNAL:
        yield optuna.storages.JournalStorage(JournalFileBackend(str(folder.journal)))
    else:
        shared = optuna.storages.RDBStorage(_in_own_schema(setting), engine_kwargs={"pool_pre_ping": True})
        try:
            yield shared
        finally:
            shared.remove_session()
            shared.engine.dispose()


def _in_own_schema(setting: str) -> str:
    """The URL of a PostgreSQL database with Optuna's tables in the schema ``optuna``, which is made when it is missing.

    Optuna and MLflow both keep the version of their tables in one called ``alembic_version``: in one schema, whoever
    comes second finds the other's version and refuses to work. A URL with ``options`` of its own is left as it is.
    """
    url = sqlalchemy.engine.make_url(setting)
    if url.get_backend_name() != "postgresql" or "options" in url.query:
        return setting
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool)
    if _SCHEMA not in sqlalchemy.inspect(engine).get_schema_names():
        with engine.begin() as connection:
            connection.execute(sqlalchemy.schema.CreateSchema(_SCHEMA, if_not_exists=True))
    return url.update_query_dict({"options": f"-csearch_path={_SCHEMA}"}).render_as_string(hide_password=False)
