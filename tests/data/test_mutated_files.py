"""Damaged files of all formats give a message or are skipped, never another exception."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from distune.config.data import FileDataSettings
from distune.data.build import build_splits
from distune.data.check import check_splits
from distune.data.data_card import make_data_card
from distune.data.recognition.recognize import recognize
from distune.errors import DistuneError
from support.layouts import LAYOUTS, make_scenes

SCENES = make_scenes({"train": 5, "val": 3})
NUM_MUTATIONS = 60
KINDS: tuple[str, ...] = (
    "voc_with_lists",
    "labelimg_flat",
    "yolo",
    "yolo_flat",
    "coco",
    "coco_service",
    "cvat",
    "label_studio",
)
KINDS += ("label_studio_minimal",)
WORDS = (b"-1", b"1e400", b"NaN", b"0", b"9" * 20, b"null", b"[]", b"{}", b'""', b"\xff\xfe", b"true", b"../..")

Mutation = Callable[[np.random.Generator, bytes], bytes]


def flip(generator: np.random.Generator, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(int(generator.integers(1, 8))):
        changed[int(generator.integers(len(changed)))] = int(generator.integers(256))
    return bytes(changed)


def cut(generator: np.random.Generator, content: bytes) -> bytes:
    start, end = sorted(int(each) for each in generator.integers(len(content) + 1, size=2))
    return content[:start] + content[end:]


def repeat(generator: np.random.Generator, content: bytes) -> bytes:
    start, end = sorted(int(each) for each in generator.integers(len(content) + 1, size=2))
    return content[:end] + content[start:]


def truncate(generator: np.random.Generator, content: bytes) -> bytes:
    return content[: int(generator.integers(len(content)))]


def replace_number(generator: np.random.Generator, content: bytes) -> bytes:
    """Replace a run of digits by another word."""
    digits = [index for index, byte in enumerate(content) if 48 <= byte <= 57]
    if not digits:
        return flip(generator, content)
    start = end = digits[int(generator.integers(len(digits)))]
    while end < len(content) and 48 <= content[end] <= 57:
        end += 1
    return content[:start] + WORDS[int(generator.integers(len(WORDS)))] + content[end:]


def insert(generator: np.random.Generator, content: bytes) -> bytes:
    position = int(generator.integers(len(content) + 1))
    return content[:position] + WORDS[int(generator.integers(len(WORDS)))] + content[position:]


MUTATIONS: tuple[Mutation, ...] = (flip, cut, repeat, truncate, replace_number, replace_number, insert)


@pytest.mark.slow
@pytest.mark.parametrize("layout", KINDS)
def test_a_damaged_file_gives_a_message(layout: str, tmp_path: Path) -> None:
    sound = tmp_path / "sound"
    LAYOUTS[layout](sound, SCENES)
    files = sorted(path.relative_to(sound) for path in sound.rglob("*") if path.is_file())
    texts = [file for file in files if file.suffix != ".png"]
    found, _ = recognize(sound)
    generator = np.random.default_rng(list(layout.encode()))
    folder = tmp_path / "damaged"
    shutil.copytree(sound, folder)
    settings = TypeAdapter[FileDataSettings](FileDataSettings).validate_python(
        {"kind": found.kind, "root": str(folder), **found.settings}
    )
    usual = build_splits(settings).notes
    noticed = 0
    for number in range(NUM_MUTATIONS):
        among = files if number % 4 == 0 else texts
        file = among[int(generator.integers(len(among)))]
        mutate = MUTATIONS[int(generator.integers(len(MUTATIONS)))]
        content = (sound / file).read_bytes()
        (folder / file).write_bytes(mutate(generator, content))
        with contextlib.suppress(DistuneError):
            recognize(folder)
        noticed += is_noticed(settings, usual)
        (folder / file).write_bytes(content)
    assert 0 < noticed < NUM_MUTATIONS  # some damage is harmless


def is_noticed(settings: FileDataSettings, usual: tuple[str, ...]) -> bool:
    """Whether the data are refused, or something is skipped or noted that is not noted of sound data."""
    try:
        splits = build_splits(settings)
        corrupt = check_splits(splits)
        make_data_card(splits, min_size_px=64, max_size_px=96)
    except DistuneError as error:
        return bool(str(error).strip())
    return bool(corrupt or splits.faults or splits.notes != usual)
