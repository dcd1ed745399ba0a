"""What killed sessions leave behind: removed by the next one, and nothing that a living process or another user has."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from filelock import FileLock

from distune.config.home import Home
from distune.study.create import create_study
from distune.study.files import session_files
from distune.study.files.session_files import LOCK, remove_abandoned, session_folder
from study.harness import MakeLoaded


@pytest.fixture(autouse=True)
def _no_folder_is_young(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_files, "_YOUNG_S", -1.0)


def leave(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "file").touch()
    return folder


def test_the_folder_of_a_session_is_private_and_is_removed(tmp_path: Path) -> None:
    with session_folder(tmp_path, "distune-") as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "file").touch()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_session_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    leave(tmp_path / "distune-killed")
    leave(tmp_path / "distune-locked-once")
    (tmp_path / "distune-locked-once" / LOCK).touch()
    other = leave(tmp_path / "other")
    with session_folder(tmp_path, "distune-") as own, session_folder(tmp_path, "distune-") as second:
        assert sorted(tmp_path.iterdir()) == sorted([own, second, other])


def test_links_files_and_young_folders_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = leave(tmp_path / "target")
    link, file = tmp_path / "link", tmp_path / "file"
    link.symlink_to(target)
    file.touch()
    remove_abandoned([link, file, tmp_path / "missing"])
    assert (target / "file").is_file()
    assert file.is_file()
    monkeypatch.setattr(session_files, "_YOUNG_S", 60.0)
    remove_abandoned([target])
    assert target.is_dir()


def test_folders_of_other_users_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, other = leave(tmp_path / "theirs"), os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: other)
    remove_abandoned([folder])
    assert folder.is_dir()


def test_a_launch_removes_what_killed_launches_left(tmp_path: Path, make_loaded: MakeLoaded) -> None:
    home = Home(tmp_path)
    killed = [leave(home.studies / f".one.{32 * 'a'}.{end}") for end in ("new", "old")]
    living = leave(home.studies / f".one.{32 * 'b'}.new")
    kept = [leave(home.studies / name) for name in (".one.mine.new", ".cache", "two.new")]
    with FileLock(living / LOCK):
        create_study(make_loaded(), home, name="one", simulate=True, runner="local", replace=False)
    assert not any(folder.exists() for folder in killed)
    assert all(folder.is_dir() for folder in (living, *kept, home.study("one")))


def test_a_launch_holds_its_folder_until_it_has_its_name(
    tmp_path: Path, make_loaded: MakeLoaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path)
    seen: list[bool] = []

    def check(*_: object) -> dict[str, object]:
        folders = list(home.studies.glob(".*.new"))
        remove_abandoned(folders)
        seen.extend(folder.is_dir() for folder in folders)
        return {}

    monkeypatch.setattr("distune.study.create.update_settings", check)
    create_study(make_loaded(), home, name="one", simulate=True, runner="local", replace=False)
    assert seen == [True]
