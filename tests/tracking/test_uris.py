"""Tracking URIs: no secret is shown, and an invalid URI is refused with a remedy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distune.errors import UsageError
from distune.tracking.uris import check_uri, is_database, is_server, redact_uri, scheme_of, shown_address


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://ann:secret@host:5000/a", "https://***@host:5000/a"),
        ("postgresql+psycopg2://ann:se:c@ret@db/mlflow", "postgresql+psycopg2://***@db/mlflow"),
        ("https://secret-token@host", "https://***@host"),
        ("GET http://a:secret@x/y and http://b:secret@z failed", "GET http://***@x/y and http://***@z failed"),
        ("mysql://db/mlflow?user=ann&password=secret&ssl=1", "mysql://db/mlflow?user=ann&password=***&ssl=1"),
        ("sqlite:////home/ann/runs/mlflow.db", "sqlite:////home/ann/runs/mlflow.db"),
        ("http://host/path@2x", "http://host/path@2x"),
        ("http://host:5000/path@2x", "http://host:5000/path@2x"),
        ("postgresql://ann:se/secret/ret@db/mlflow", "postgresql://***@db/mlflow"),
        ("https://host/api?access_token=secret&x=1", "https://host/api?access_token=***&x=1"),
        ("s3://bucket/a?X-Amz-Signature=secret", "s3://bucket/a?X-Amz-Signature=***"),
        ("s3://key:secret@bucket/a: no such key", "s3://***@bucket/a: no such key"),
        ("mysql://db/x?ssl_key=a&AWS_SECRET_ACCESS_KEY=secret", "mysql://db/x?ssl_key=a&AWS_SECRET_ACCESS_KEY=***"),
        ("uri: postgresql://ann:secret@db/x\nexperiment: null", "uri: postgresql://***@db/x\nexperiment: null"),
        ("postgresql://ann:sec'ret\"s@db/x", "postgresql://***@db/x"),
        ("postgresql://ann:#secret: @db/x", "postgresql://***@db/x"),
        ("postgresql://ann:5432/secret@db/x", "postgresql://***@db/x"),
        ("postgresql://ann:p@ss/secret@db/x", "postgresql://***@db/x"),
        ("postgresql://db:5432/x refused; ask ann@x.org", "postgresql://db:5432/x refused; ask ann@x.org"),
        ("https://docs.org: ask ann@x.org", "https://docs.org: ask ann@x.org"),
        (
            "mssql+pyodbc:///?odbc_connect=DRIVER%3Dx%3BPWD%3Dsecret%3BX%3D1",
            "mssql+pyodbc:///?odbc_connect=DRIVER%3Dx%3BPWD%3D***%3BX%3D1",
        ),
        ("mssql+pyodbc:///?odbc_connect=PWD%3D%7Bse%3Bcret%7D", "mssql+pyodbc:///?odbc_connect=PWD%3D***"),
        ("https://host/a?sig=secret&key=secret&x=1", "https://host/a?sig=***&key=***&x=1"),
        ("DefaultEndpoint=x;AccountKey=secret==;y", "DefaultEndpoint=x;AccountKey=***;y"),
        ("sorted(names, key=len)", "sorted(names, key=len)"),
    ],
)
def test_secrets_are_not_shown(text: str, shown: str) -> None:
    assert redact_uri(text) == shown
    assert "secret" not in redact_uri(text)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("journal", "journal"),
        ("databricks", "databricks"),
        ("postgresql://db:5432/x", "postgresql://db:5432/x"),
        ("postgresql+psycopg2://ann:s@c/r'e t@db/x?sslmode=on", "postgresql+psycopg2://***@db/x?***"),
        ("https://secret@host/a", "https://***@host/a"),
        ("postgresql://ann:5432/secret@db/x", "postgresql://***@db/x"),
        ("postgresql://ann:sec?ret@db/x", "postgresql://***"),
        ("mysql://db/x?password=sec@ret", "mysql://***"),
        ("mssql://db/x;PWD=secret", "mssql://db/x;***"),
        ("Server=db;PWD=secret", "***"),
    ],
)
def test_a_shown_address_has_no_part_that_may_be_a_secret(address: str, shown: str) -> None:
    assert shown_address(address) == shown


@given(st.text(st.characters(codec="utf-8"), min_size=1), st.text(st.characters(codec="utf-8")))
def test_no_password_is_in_a_shown_address(password: str, query: str) -> None:
    address = f"postgresql://ann:\0{password}\0@db/x?password=\0{query}\0"
    assert "\0" not in shown_address(address)


@pytest.mark.parametrize(
    ("uri", "scheme"),
    [
        ("sqlite:///a.db", "sqlite"),
        ("postgresql+psycopg2://h/d", "postgresql"),
        ("HTTPS://host", "https"),
        ("databricks", "databricks"),
        ("databricks://profile", "databricks"),
        ("runs/mlruns", ""),
        ("/runs", ""),
        ("C:\\runs", ""),
        ("file:///runs", "file"),
    ],
)
def test_the_scheme_is_read(uri: str, scheme: str) -> None:
    assert scheme_of(uri) == scheme
    assert is_database(uri) == (scheme in {"sqlite", "postgresql"})
    assert is_server(uri) == (scheme == "https")


@pytest.mark.parametrize(
    "uri", ["sqlite:///runs/mlflow.db", "http://localhost:5000", "https://ann:secret@host/mlflow", "databricks"]
)
def test_uris_that_mlflow_supports_are_accepted(uri: str) -> None:
    check_uri(uri)


@pytest.mark.parametrize(
    ("uri", "remedy"),
    [
        ("./mlruns", "use sqlite:///./mlruns/mlflow.db"),
        ("file:///data/mlruns", "use sqlite:////data/mlruns/mlflow.db"),
        ("", "use sqlite:///runs/mlflow.db"),
        ("ftp://ann:secret@host", "known are databricks, http, https, mssql, mysql, postgresql, sqlite"),
        ("sqlite://", "name a file"),
        ("sqlite:///:memory:", "name a file"),
        ("http://", "an example is http://localhost:5000"),
        ("sqlite+nosuchdriver:///x.db", "is not a database URI"),
    ],
)
def test_invalid_uris_are_refused_with_a_remedy(uri: str, remedy: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_uri(uri)
    assert remedy in str(caught.value)
    assert "tracking.uri = " in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_missing_database_driver_is_named_at_launch() -> None:
    with pytest.raises(UsageError, match="driver of this database") as caught:
        check_uri("mssql+pymssql://ann:secret@db/mlflow")
    assert "not installed" in str(caught.value)
    assert "secret" not in str(caught.value)
