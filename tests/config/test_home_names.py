"""Homes with any name: special characters are quoted, and a name that is not UTF-8 is refused."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy

from distune.config.home import Home
from distune.config.load import load_experiment
from distune.errors import UsageError

NOT_UTF_8 = os.fsdecode(b"a\xffb")


@pytest.mark.parametrize("name", ["a?b", "a#b", "a%20b", "a b", "a%3Fb", "a&b=c", "ä", "a:b@c"])
def test_the_store_is_made_in_the_home(name: str, tmp_path: Path) -> None:
    home = Home(tmp_path / name)
    home.root.mkdir()
    engine = sqlalchemy.create_engine(home.tracking_uri)
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("create table a (b int)"))
    engine.dispose()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert sqlite3.connect(home.database).execute("select name from sqlite_master").fetchall() == [("a",)]


@pytest.mark.parametrize("way", ["variable", "argument", "working folder"])
def test_a_home_that_is_not_utf_8_is_refused(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / NOT_UTF_8
    folder.mkdir()
    monkeypatch.setenv("DISTUNE_HOME", str(folder) if way == "variable" else "")
    if way == "working folder":
        monkeypatch.chdir(folder)
    with pytest.raises(UsageError, match=r"home .*: the name of the folder is not UTF-8.*DISTUNE_HOME"):
        Home.at(folder if way == "argument" else None)


@pytest.mark.parametrize("name", ["a" * 300, "a/" + "b" * 300 + ".yaml", "a\0.yaml", "ä" * 200])
def test_names_that_no_file_can_have_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="no file can have this name"):
        load_experiment(name)
    with pytest.raises(UsageError, match="no file can have this name"):
        load_experiment("quickstart", space=name)
