"""Damaged experiments, search spaces and files of a study give a message, never another exception, and soon.

Seeded: each seed damages a file in the same way each time.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from distune.config.load import load_experiment
from distune.config.shipped import shipped_folder
from distune.config.yaml import write_yaml
from distune.errors import DistuneError
from distune.study.files.study_folder import StudyFolder

NUM_MUTATIONS = {"experiments": 130, "search_spaces": 110, "study": 60}
NUM_TORTURES = 40
"""Times as many mutations in the tests marked torture."""
LIMIT_S = 60.0
WORDS = (
    *("-1", "1e400", ".nan", "0", "9" * 20, "null", "[]", "{}", '""', "true", "../..", "~", "!!int x", "2001-13-01"),
    *(
        "&a",
        "*a",
        "&a [*a]",
        "<<: *a",
        "? ",
        "- ",
        ": ",
        "{",
        "]",
        "#",
        "'",
        "|",
        "\t",
        "\x00",
        "\ud800",
        "1:30",
        "012",
    ),
)
Mutation = Callable[[np.random.Generator, str], str]


def pick(generator: np.random.Generator, number: int) -> int:
    return int(generator.integers(number))


def span(generator: np.random.Generator, text: str) -> tuple[int, int]:
    start, end = sorted(pick(generator, len(text) + 1) for _ in range(2))
    return start, end


def insert(generator: np.random.Generator, text: str) -> str:
    place = pick(generator, len(text) + 1)
    return text[:place] + WORDS[pick(generator, len(WORDS))] + text[place:]


def cut(generator: np.random.Generator, text: str) -> str:
    start, end = span(generator, text)
    return text[:start] + text[end:]


def repeat(generator: np.random.Generator, text: str) -> str:
    start, end = span(generator, text)
    return text[:end] + text[start:]


def replace_value(generator: np.random.Generator, text: str) -> str:
    """Replace what follows a colon."""
    colons = [place for place, each in enumerate(text) if each == ":"]
    if not colons:
        return insert(generator, text)
    start = colons[pick(generator, len(colons))] + 1
    end = min((place for each in "\n,}" if (place := text.find(each, start)) >= 0), default=len(text))
    return f"{text[:start]} {WORDS[pick(generator, len(WORDS))]}{text[end:]}"


def swap_lines(generator: np.random.Generator, text: str) -> str:
    lines = text.splitlines(keepends=True)
    first, second = pick(generator, len(lines)), pick(generator, len(lines))
    lines[first], lines[second] = lines[second], lines[first]
    return "".join(lines)


def repeat_often(generator: np.random.Generator, text: str) -> str:
    """Repeat a word many times, as a bomb does."""
    place = pick(generator, len(text) + 1)
    word = WORDS[pick(generator, len(WORDS))]
    return text[:place] + word * int(10 ** generator.uniform(1, 4)) + text[place:]


MUTATIONS: tuple[Mutation, ...] = (
    *(insert, cut, repeat, swap_lines, repeat_often),
    *(replace_value, replace_value, replace_value, replace_value),
)


def mutated(seed: int, text: str) -> bytes:
    """Damage a text in one to three ways."""
    generator = np.random.default_rng(seed)
    for _ in range(1 + pick(generator, 3)):
        text = MUTATIONS[pick(generator, len(MUTATIONS))](generator, text or "a: 1")
    return text.encode("utf-8", "surrogatepass")


def check_experiment(path: Path, kind: str) -> None:
    """Load a damaged file; only a message is expected."""
    start = time.process_time()
    with contextlib.suppress(DistuneError):
        load_experiment("quickstart", space=path) if kind == "search_spaces" else load_experiment(path)
    assert time.process_time() - start < LIMIT_S


def check_study(folder: StudyFolder) -> None:
    """Read all files of a study that are read without Optuna."""
    start = time.process_time()
    for read in (folder.identity, folder.load, folder.session, folder.teacher, folder.data_fingerprint):
        with contextlib.suppress(DistuneError):
            read()
    assert time.process_time() - start < LIMIT_S


def run_experiments(kind: str, seeds: range, tmp_path: Path) -> None:
    texts = [path.read_text() for path in sorted(shipped_folder(kind).glob("*.yaml"))]
    for seed in seeds:
        path = tmp_path / "damaged.yaml"
        path.write_bytes(mutated(seed, texts[seed % len(texts)]))
        try:
            check_experiment(path, kind)
        except Exception as error:
            raise AssertionError(f"{kind}: seed {seed}") from error


STUDY_FILES = {
    "study.json": '{"name": "a", "key": "b", "created_at": 1.0, "simulate": true, "runner": "local", '
    '"metric": "search/AP", "version": "1"}',
    "session.json": '{"state": "finished", "num_trials": 4, "reason": null, "started_at": 1.5}',
    "teacher.json": '{"weights": "/a/b.pt", "metrics": {"AP": 30.5}}',
    "report/data_card.json": '{"fingerprint": "abc", "splits": []}',
}


def run_study(seeds: range, tmp_path: Path) -> None:
    loaded = load_experiment("quickstart")
    texts = {
        **STUDY_FILES,
        "experiment.yaml": write_yaml(loaded.experiment.to_dict()),
        "space.yaml": write_yaml(loaded.space.to_dict()),
    }
    (tmp_path / "report").mkdir()
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    folder = StudyFolder(tmp_path)
    names = sorted(texts)
    for seed in seeds:
        name = names[seed % len(names)]
        (tmp_path / name).write_bytes(mutated(seed, texts[name]))
        try:
            check_study(folder)
        except Exception as error:
            raise AssertionError(f"{name}: seed {seed}") from error
        (tmp_path / name).write_text(texts[name])


@pytest.mark.parametrize("kind", ["experiments", "search_spaces"])
def test_a_damaged_settings_file_gives_a_message(kind: str, tmp_path: Path) -> None:
    run_experiments(kind, range(NUM_MUTATIONS[kind]), tmp_path)


def test_a_damaged_file_of_a_study_gives_a_message(tmp_path: Path) -> None:
    run_study(range(NUM_MUTATIONS["study"]), tmp_path)


@pytest.mark.torture
@pytest.mark.parametrize("kind", ["experiments", "search_spaces"])
def test_many_damaged_settings_files_give_a_message(kind: str, tmp_path: Path) -> None:
    run_experiments(kind, range(1000, 1000 + NUM_TORTURES * NUM_MUTATIONS[kind]), tmp_path)


@pytest.mark.torture
def test_many_damaged_files_of_a_study_give_a_message(tmp_path: Path) -> None:
    run_study(range(1000, 1000 + NUM_TORTURES * NUM_MUTATIONS["study"]), tmp_path)
