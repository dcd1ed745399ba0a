"""Damaged files of all formats give a message or are skipped, never another exception."""

from __future__ import annotations

import contextlib
import shutil
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
from support.mutations import MUTATIONS, replace_json_value

SCENES = make_scenes({"train": 5, "val": 3})
NUM_MUTATIONS, NUM_TORTURES = 40, 600
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


@pytest.mark.parametrize("layout", KINDS)
def test_a_damaged_file_gives_a_message(layout: str, tmp_path: Path) -> None:
    assert run_mutations(layout, tmp_path, NUM_MUTATIONS) > 0


@pytest.mark.torture
@pytest.mark.parametrize("layout", KINDS)
def test_many_damaged_files_give_a_message(layout: str, tmp_path: Path) -> None:
    assert 0 < run_mutations(layout, tmp_path, NUM_TORTURES) < NUM_TORTURES  # some damage is harmless


def run_mutations(layout: str, tmp_path: Path, number_of_mutations: int) -> int:
    """Damage a file at a time. Return how often that was noticed."""
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
    for number in range(number_of_mutations):
        among = files if number % 4 == 0 else texts
        file = among[int(generator.integers(len(among)))]
        is_json = file.suffix == ".json" and number % 2 == 0
        mutate = replace_json_value if is_json else MUTATIONS[int(generator.integers(len(MUTATIONS)))]
        content = (sound / file).read_bytes()
        (folder / file).write_bytes(mutate(generator, content))
        with contextlib.suppress(DistuneError):
            recognize(folder)
        noticed += is_noticed(settings, usual)
        (folder / file).write_bytes(content)
    return noticed


def is_noticed(settings: FileDataSettings, usual: tuple[str, ...]) -> bool:
    """Whether the data are refused, or something is skipped or noted that is not noted of sound data."""
    try:
        splits = build_splits(settings)
        corrupt = check_splits(splits)
        make_data_card(splits, min_size_px=64, max_size_px=96)
    except DistuneError as error:
        return bool(str(error).strip())
    return bool(corrupt or splits.faults or splits.notes != usual)
