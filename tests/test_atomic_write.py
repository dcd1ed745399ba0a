from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from distune.atomic_write import open_atomically, write_atomically


def test_a_full_disk_leaves_the_old_file_and_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "note"
    write_atomically(path, b"old")

    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["note"]
    with open_atomically(path, is_durable=False) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"


def test_an_error_in_the_block_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "note"
    write_atomically(path, b"old")
    with pytest.raises(TypeError, match="bytes-like"), open_atomically(path) as file:
        file.writelines([b"half of the ", None])  # type: ignore[list-item]
    assert path.read_bytes() == b"old"
    assert [each.name for each in path.parent.iterdir()] == ["note"]


def test_a_private_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    write_atomically(tmp_path / "secret", b"password", is_private=True)
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
