"""The cache of inspected image files: used while size and time of a file stay the same, never needed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from distune.data import image_scan
from distune.data.dataset import ImageError
from distune.data.image_scan import scan_images
from distune.data.images import ImageFile, inspect_image
from support.datasets import write_image


class Inspector:
    """Counts the files that are inspected."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, path: Path, *, file: str) -> ImageFile:
        self.names.append(file)
        return inspect_image(path, file=file)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    monkeypatch.setattr(image_scan, "CACHED_FROM_BYTES", 0)
    paths = {f"{number}.png": tmp_path / "data" / f"{number}.png" for number in range(4)}
    for number, path in enumerate(paths.values()):
        write_image(path, np.full((20, 30, 3), number, dtype=np.uint8))
    return paths


def scan(tmp_path: Path, files: dict[str, Path]) -> tuple[image_scan.Scan, list[str]]:
    inspector = Inspector()
    found = scan_images(tmp_path / "data", files, cache=tmp_path / "cache", inspect=inspector)
    return found, sorted(inspector.names)


def test_a_file_is_inspected_again_only_when_it_changes(tmp_path: Path, files: dict[str, Path]) -> None:
    first, names = scan(tmp_path, files)
    assert names == sorted(files)
    again, names = scan(tmp_path, files)
    assert (names, again) == ([], first)
    write_image(files["2.png"], np.full((20, 30, 3), 77, dtype=np.uint8))
    os.utime(files["2.png"], ns=(1, 1))
    changed, names = scan(tmp_path, files)
    assert names == ["2.png"]
    assert changed["2.png"].digest != first["2.png"].digest  # type: ignore[union-attr]


def test_equal_content_has_an_equal_digest_under_any_name(tmp_path: Path, files: dict[str, Path]) -> None:
    files["copy.png"] = tmp_path / "data" / "copy.png"
    files["copy.png"].write_bytes(files["1.png"].read_bytes())
    found, _ = scan(tmp_path, files)
    digests = {name: each.digest for name, each in found.items()}  # type: ignore[union-attr]
    assert digests["copy.png"] == digests["1.png"]
    assert len(set(digests.values())) == 4


def test_a_file_that_cannot_be_read_is_never_cached(tmp_path: Path, files: dict[str, Path]) -> None:
    files["0.png"].write_bytes(b"no image")
    for _ in range(2):
        found, names = scan(tmp_path, files)
        assert isinstance(found["0.png"], ImageError)
        assert "0.png" in names


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": 99, "files": {}}'])
def test_a_damaged_or_foreign_cache_is_replaced(tmp_path: Path, files: dict[str, Path], content: bytes) -> None:
    first, _ = scan(tmp_path, files)
    (cache,) = (tmp_path / "cache" / "images").iterdir()
    cache.write_bytes(content)
    assert scan(tmp_path, files) == (first, sorted(files))
    assert scan(tmp_path, files) == (first, [])


def test_without_a_writable_cache_files_are_inspected_every_time(tmp_path: Path, files: dict[str, Path]) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert scan(tmp_path, files)[1] == scan(tmp_path, files)[1] == sorted(files)


def test_small_data_sets_leave_no_cache(
    tmp_path: Path, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_scan, "CACHED_FROM_BYTES", 10**9)
    assert scan(tmp_path, files)[1] == scan(tmp_path, files)[1] == sorted(files)
    assert not (tmp_path / "cache").exists()
