"""Places of artifacts in a home's MLflow store. MLflow records them as absolute; a home may be moved or copied."""

from __future__ import annotations

import contextlib
import sqlite3
import urllib.parse
from pathlib import Path

_TIMEOUT_S = 20.0
"""Time that a write waits for another process that holds the database."""
_PLACES = (("experiments", "artifact_location"), ("runs", "artifact_uri"))
"""Table and column of the places that MLflow records."""


def update_artifact_locations(database: Path, artifacts: Path, *, is_shared: bool = False) -> int:
    """Let the experiments and runs of a store follow a home that was moved or copied.

    Places of another home that uses the same store stay as they are: they exist, and none of their runs is here.

    Args:
        database: the file of the store, which exists.
        artifacts: the home's folder of artifacts; every experiment that distune creates in this store has it.
        is_shared: other homes may use the store as well; a place follows only if the artifacts of its runs are here.

    Returns:
        Number of places that were changed.

    Raises:
        sqlite3.Error: the database cannot be read or written.
    """
    present, changed = artifacts.absolute().as_uri(), 0
    with contextlib.closing(sqlite3.connect(database, timeout=_TIMEOUT_S)) as connection:
        rows = connection.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
        places = {str(place) for (place,) in rows if str(place).startswith("file:///")}
        for former in places - {present}:
            if not former.endswith(f"/{artifacts.name}") or not _is_moved(
                connection, former, artifacts, is_shared=is_shared
            ):
                continue
            with connection:
                changed += sum(_replace(connection, table, column, former, present) for table, column in _PLACES)
    return changed


def _is_moved(connection: sqlite3.Connection, former: str, artifacts: Path, *, is_shared: bool) -> bool:
    """Return whether a former place is gone, or the artifacts of its runs are here as well, as in a copied home."""
    if not is_shared and not Path(urllib.parse.unquote(urllib.parse.urlsplit(former).path)).is_dir():
        return True
    query = "SELECT run_uuid FROM runs WHERE artifact_uri = ? || '/' || run_uuid || '/artifacts'"
    return any((artifacts / run).is_dir() for (run,) in connection.execute(query, (former,)))


def _replace(connection: sqlite3.Connection, table: str, column: str, former: str, present: str) -> int:
    """Replace the beginning of the places in a column."""
    cursor = connection.execute(
        f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608 - names of this file
        f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
        (present, len(former) + 1, former, len(former) + 1, f"{former}/"),
    )
    return cursor.rowcount
