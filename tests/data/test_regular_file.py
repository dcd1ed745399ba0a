"""Files that are none, that decode to gigabytes, or that have impossible names are located problems."""

from __future__ import annotations

import json
import os
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from distune.data.dataset import ImageError
from distune.data.formats.text_files import read_text
from distune.data.images import MAX_PIXELS, inspect_image, read_image
from distune.data.input_images import find_input_images, inspect_input_images
from distune.data.regular_file import is_file, read_json
from distune.errors import UsageError


def png_of(path: Path, width: int, height: int) -> Path:
    """Write a PNG with the header of an image of any size, and few pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )
    return path


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("width", "height"), [(9_000, 9_000), (10_000, 10_000), (30_000, 30_000), (2_000_000, 50)])
def test_an_image_of_too_many_pixels_is_not_decoded(width: int, height: int, tmp_path: Path) -> None:
    assert width * height > MAX_PIXELS
    path = png_of(tmp_path / "bomb.png", width, height)
    for read in (inspect_image, read_image):
        with pytest.raises(ImageError, match=r"a/bomb\.png: .*more than 80 million are not read; cut it into tiles"):
            read(path, file="a/bomb.png")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_predict_names_such_images_and_reads_the_others(tmp_path: Path) -> None:
    bomb = png_of(tmp_path / "bomb.png", 20_000, 20_000)
    os.mkfifo(tmp_path / "pipe.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "good.png")
    headers, problems = inspect_input_images(find_input_images([tmp_path]))
    assert set(headers) == {tmp_path / "good.png"}
    assert "more than 80 million" in problems[bomb]
    assert (
        problems.get(tmp_path / "pipe.png", "not a regular file").endswith("not a regular file)") or len(problems) == 1
    )


def test_a_named_pipe_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "pipe.png"
    os.mkfifo(path)
    for read in (inspect_image, read_image):
        with pytest.raises(ImageError, match="not a regular file"):
            read(path, file="pipe.png")
    with pytest.raises(OSError, match="not a regular file"):
        read_text(path)
    assert not is_file(path)


@pytest.mark.parametrize("name", ["a" * 300 + ".png", "a\0b.png", "\ud800.png"])
def test_names_that_no_file_can_have_are_missing(name: str, tmp_path: Path) -> None:
    assert not is_file(tmp_path / name)
    with pytest.raises(ImageError):
        inspect_image(tmp_path / name, file="it")
    with pytest.raises(UsageError, match="there is no such file"):
        find_input_images([tmp_path / name])


def test_json_that_goes_too_deep_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "deep.json"
    path.write_text("[" * 100_000 + "]" * 100_000)
    with pytest.raises(ValueError, match="too deep"):
        read_json(path)
    path.write_text(json.dumps({"a": 1}))
    assert read_json(path) == {"a": 1}
