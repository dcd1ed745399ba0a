"""Reading files that may be anything."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from distune.bounded_read import MAX_BYTES, read_bounded


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"content")
    assert read_bounded(path) == b"content"
    with pytest.raises(FileNotFoundError):
        read_bounded(tmp_path / "missing")


def test_other_things_are_refused_at_once(tmp_path: Path) -> None:
    pipe, large = tmp_path / "pipe", tmp_path / "large"
    os.mkfifo(pipe)
    large.touch()
    os.truncate(large, MAX_BYTES + 1)
    for path, reason in ((pipe, "not a regular file"), (Path("/dev/zero"), "not a regular"), (large, "larger than")):
        with pytest.raises(OSError, match=reason) as caught:
            read_bounded(path)
        assert caught.value.filename == str(path)
    with pytest.raises(IsADirectoryError):
        read_bounded(tmp_path)
