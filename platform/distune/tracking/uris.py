"""Tracking URIs: check them, and show them without their secrets."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Callable, Iterator

from distune.errors import UsageError
from distune.tracking.secret_parts import Span, secret_spans, user_spans

DATABASE_SCHEMES = ("sqlite", "postgresql", "mysql", "mssql")
SERVER_SCHEMES = ("http", "https")
_KNOWN_SCHEMES = (*DATABASE_SCHEMES, *SERVER_SCHEMES, "databricks")
_PLUGIN_GROUP = "mlflow.tracking_store"


def redact_uri(text: str) -> str:
    """Return a text with URIs without their users, passwords, tokens and keys.

    If in doubt, it removes too much. It cannot be certain where a URI ends in a text: for a single address that is
    published, use ``shown_address``.
    """
    return _replace(_replace(text, user_spans, "***@"), secret_spans, "***")


def _replace(text: str, spans: Callable[[str], Iterator[Span]], replacement: str) -> str:
    pieces, position = [], 0
    for start, end in spans(text):
        pieces += [text[position:start], replacement]
        position = end
    return "".join([*pieces, text[position:]])


def shown_address(address: str) -> str:
    """Return an address that can be published: scheme, host and path, without user and query; less if unclear."""
    scheme, separator, rest = address.partition("://")
    if not separator or not re.fullmatch(r"\w[\w+.-]*", scheme):
        return address if re.fullmatch(r"\w*", address) else "***"
    place, end, query = re.fullmatch(r"([^?#;&]*)([?#;&]?)(.*)", rest, re.DOTALL).groups()  # type: ignore[union-attr]
    if "@" in query:  # a password with one of ?#;& or a query with an @
        return f"{scheme}://***"
    _, at, host = place.rpartition("@")
    return redact_uri(f"{scheme}://{'***@' if at else ''}{host}{f'{end}***' if end else ''}")


def scheme_of(uri: str) -> str:
    """Return the scheme: ``postgresql`` for ``postgresql+psycopg://...``, empty for a path."""
    head, separator, _ = uri.partition(":")
    if uri == "databricks":
        return uri
    return head.partition("+")[0].lower() if separator and len(head) > 1 else ""


def is_database(uri: str) -> bool:
    """Return whether MLflow opens this store directly, without a server."""
    return scheme_of(uri) in DATABASE_SCHEMES


def is_server(uri: str) -> bool:
    """Return whether this is the address of an MLflow server."""
    return scheme_of(uri) in SERVER_SCHEMES


def check_uri(uri: str) -> None:
    """Check a tracking URI at launch, without opening a connection.

    Args:
        uri: as the user wrote it.

    Raises:
        UsageError: MLflow has no store for this URI, or the database driver is not installed.
    """
    scheme = scheme_of(uri)
    shown = f"tracking.uri = {redact_uri(uri)}"
    if scheme in ("", "file"):
        folder = uri.removeprefix("file://").removeprefix("file:").rstrip("/") or "runs"
        raise UsageError(f"{shown}: MLflow no longer keeps runs in plain files; use sqlite:///{folder}/mlflow.db")
    plugins = {entry.name for entry in importlib.metadata.entry_points(group=_PLUGIN_GROUP)}
    if scheme not in _KNOWN_SCHEMES and scheme not in plugins:
        known = ", ".join(sorted({*_KNOWN_SCHEMES, *plugins} - {"file-plugin"}))
        raise UsageError(f"{shown}: unknown tracking store {scheme}; known are {known}")
    if scheme == "sqlite" and _path_of(uri) in ("", ":memory:"):
        raise UsageError(f"{shown}: a database in memory is lost at the end; name a file, as in sqlite:///mlflow.db")
    if scheme in DATABASE_SCHEMES:
        _check_database(uri, shown)
    if scheme in SERVER_SCHEMES and not re.match(r"(?i)https?://[^/?#]+", uri):
        raise UsageError(f"{shown}: has no host; an example is http://localhost:5000")


def _check_database(uri: str, shown: str) -> None:
    import sqlalchemy.engine
    import sqlalchemy.exc

    try:
        sqlalchemy.engine.make_url(uri).get_dialect().import_dbapi()
    except ImportError as error:
        raise UsageError(f"{shown}: the driver of this database is not installed ({error})") from None
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise UsageError(f"{shown}: is not a database URI; an example is {scheme_of(uri)}:///mlflow.db") from None


def _path_of(uri: str) -> str:
    """Return the path of a URI, without the query."""
    return uri.partition("://")[2].partition("/")[2].partition("?")[0]
