"""Tracking URIs: which are possible, and how to show them without their secrets."""

from __future__ import annotations

import importlib.metadata
import re

from distune.errors import UsageError

DATABASE_SCHEMES = ("sqlite", "postgresql", "mysql", "mssql")
SERVER_SCHEMES = ("http", "https")
_KNOWN = (*DATABASE_SCHEMES, *SERVER_SCHEMES, "databricks")
_PLUGIN_GROUP = "mlflow.tracking_store"

_NO_SERVER = r"(?<!http://)(?<!https://)"
_USER_INFO = re.compile(
    rf"""(?<=://)(?:
    [^/\s'"@:]*:(?!\d+(?:[/?\#\s]|$))\S*@  # beyond slashes and quotes, after a colon that begins a password, not a port
    | {_NO_SERVER}[^/\s'"@:]*:\d\S*@  # the paths of databases and stores hold no @, so that it is no port either
    | {_NO_SERVER}[^/\s'"@:]*:(?=\S)(?!\d+(?:[/?\#\s,;:)]|$))[^@\n]*@  # nor is a blank the end of their passwords
    | [^/\s]*@  # up to the first slash
    )""",
    re.VERBOSE,
)
_EQUALS = r"(?:=|%3D)"
_VALUE = r"(?:\{[^}\n]*\}|%7B.*?%7D|(?:(?!%3B|%26)[^&;\s'\"])+)"
_SECRET_FIELD = re.compile(
    r"([\w.-]*(?:password|passwd|passphrase|pwd|token|secret|credential|signature|(?:api|access|account)[_-]?key)[\w.-]*"
    # Words that are plain ones elsewhere.
    r"|(?:(?<=[?&;])|(?<=%3F)|(?<=%26)|(?<=%3B))(?:sig|sas|key|pass|auth|code))"
    rf"({_EQUALS}){_VALUE}",
    re.IGNORECASE,
)


def redact_uri(text: str) -> str:
    """A URI, or any text that holds some, without users, passwords, tokens and keys.

    In doubt it takes too much. No text can be read with certainty, though: where an address as a whole is at hand and
    goes to others, ``shown_address`` is to be used.
    """
    return _SECRET_FIELD.sub(r"\1\2***", _USER_INFO.sub("***@", text))


def shown_address(address: str) -> str:
    """An address for others to see: scheme, host and path, and neither user nor query. Less where that is not clear."""
    scheme, separator, rest = address.partition("://")
    if not separator or not re.fullmatch(r"\w[\w+.-]*", scheme):
        return address if re.fullmatch(r"\w*", address) else "***"
    place, end, query = re.fullmatch(r"([^?#;&]*)([?#;&]?)(.*)", rest, re.DOTALL).groups()  # type: ignore[union-attr]
    if "@" in query:  # either a password with that character, or a query with an @
        return f"{scheme}://***"
    _, at, host = place.rpartition("@")
    return redact_uri(f"{scheme}://{'***@' if at else ''}{host}{f'{end}***' if end else ''}")


def scheme_of(uri: str) -> str:
    """``postgresql`` for ``postgresql+psycopg://...``; empty for a path."""
    head, separator, _ = uri.partition(":")
    if uri == "databricks":
        return uri
    return head.partition("+")[0].lower() if separator and len(head) > 1 else ""


def is_database(uri: str) -> bool:
    """Whether MLflow opens this store by itself, without a server in between."""
    return scheme_of(uri) in DATABASE_SCHEMES


def is_server(uri: str) -> bool:
    """Whether this is the address of a running MLflow server."""
    return scheme_of(uri) in SERVER_SCHEMES


def check_uri(uri: str) -> None:
    """Find out at launch what would otherwise come up in the middle of the study. Opens no connection.

    Raises:
        UsageError: MLflow has no store for this URI, or the driver of its database is not installed.
    """
    scheme = scheme_of(uri)
    shown = f"tracking.uri = {redact_uri(uri)}"
    if scheme in ("", "file"):
        folder = uri.removeprefix("file://").removeprefix("file:").rstrip("/") or "runs"
        raise UsageError(f"{shown}: MLflow no longer keeps runs in plain files; use sqlite:///{folder}/mlflow.db")
    plugins = {entry.name for entry in importlib.metadata.entry_points(group=_PLUGIN_GROUP)}
    if scheme not in _KNOWN and scheme not in plugins:
        known = ", ".join(sorted({*_KNOWN, *plugins} - {"file-plugin"}))
        raise UsageError(f"{shown}: no tracking store is called {scheme}; known are {known}")
    if scheme == "sqlite" and _path_of(uri) in ("", ":memory:"):
        raise UsageError(f"{shown}: a database in memory is gone at the end; name a file, as in sqlite:///mlflow.db")
    if scheme in DATABASE_SCHEMES:
        _check_database(uri, shown)
    if scheme in SERVER_SCHEMES and not re.match(r"(?i)https?://[^/?#]+", uri):
        raise UsageError(f"{shown}: names no server; an example is http://localhost:5000")


def _check_database(uri: str, shown: str) -> None:
    import sqlalchemy.engine
    import sqlalchemy.exc

    try:
        sqlalchemy.engine.make_url(uri).get_dialect().import_dbapi()
    except ImportError as error:
        raise UsageError(f"{shown}: the driver of this database is not installed ({error})") from None
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise UsageError(f"{shown}: is no database URI; an example is {scheme_of(uri)}:///mlflow.db") from None


def _path_of(uri: str) -> str:
    """What follows the authority of a URI."""
    return uri.partition("://")[2].partition("/")[2].partition("?")[0]
