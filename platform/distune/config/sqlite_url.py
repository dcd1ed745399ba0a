"""The URL of an SQLite file, for SQLAlchemy, Optuna and MLflow."""

from __future__ import annotations

from pathlib import Path

_QUOTED = {"%": "%25", "?": "%3F", "#": "%23"}
"""Characters of a path that mean something else in a URL; the percent sign comes first."""


def sqlite_url(path: Path) -> str:
    """Return the URL of an SQLite file.

    A path with quoted characters gets the name of its driver as well. MLflow creates the folder of a URL that begins
    with ``sqlite:///``, and would create it under the quoted name.

    Args:
        path: of the file, absolute.

    Returns:
        Such as ``sqlite:////home/ann/runs/mlflow.db``.
    """
    quoted = str(path)
    for character, code in _QUOTED.items():
        quoted = quoted.replace(character, code)
    driver = "" if quoted == str(path) else "+pysqlite"
    return f"sqlite{driver}:///{quoted}"
