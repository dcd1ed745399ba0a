"""The version of MLflow's tables in a database: those of another release of MLflow need an upgrade first."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import shlex
from pathlib import Path

from distune.errors import UsageError
from distune.tracking.uris import redact_uri

_REVISION = re.compile(r"^(down_)?revision\b[^=\n]*=\s*['\"](\w+)['\"]", re.MULTILINE)


class StoreVersionError(UsageError):
    """A database of MLflow has the tables of another release."""


def check_store_version(uri: str) -> None:
    """Check that the tables of a database are those of the installed MLflow. A database without tables is accepted.

    MLflow would check it as well, but after seconds, and only when the first run is written.

    Args:
        uri: of a database that exists.

    Raises:
        StoreVersionError: they are not; the message says what to do.
        sqlalchemy.exc.SQLAlchemyError: the database cannot be read.
    """
    import sqlalchemy

    engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.pool.NullPool)
    with engine.connect() as connection:
        if not sqlalchemy.inspect(connection).has_table("alembic_version"):
            return
        found = connection.execute(sqlalchemy.text("SELECT version_num FROM alembic_version")).scalars().all()
    known, newest = known_versions()
    if not found or newest is None or newest in found:
        return
    shown, release = f"tracking.uri = {redact_uri(uri)}", importlib.metadata.version("mlflow")
    if found[0] in known:
        raise StoreVersionError(
            f"{shown}: its tables are of an earlier release of MLflow than {release}; copy the database, then run: "
            f"mlflow db upgrade {shlex.quote(redact_uri(uri))}"
        )
    raise StoreVersionError(
        f"{shown}: its tables are of a later release of MLflow than {release}; install that release, or name another "
        f"database"
    )


def known_versions() -> tuple[set[str], str | None]:
    """Return the versions of tables that the installed MLflow knows, and the newest; None without a single newest one.

    They are read as text, because loading MLflow's migrations takes seconds.
    """
    spec = importlib.util.find_spec("mlflow")
    folders = [] if spec is None else [Path(each) for each in spec.submodule_search_locations or ()]
    files = [file for each in folders for file in (each / "store" / "db_migrations" / "versions").glob("*.py")]
    matches = [match for file in files for match in _REVISION.findall(file.read_text(encoding="utf-8"))]
    known = {version for is_former, version in matches if not is_former}
    newest = known - {version for is_former, version in matches if is_former}
    return known, newest.pop() if len(newest) == 1 else None
