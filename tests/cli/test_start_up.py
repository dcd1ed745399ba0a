"""Commands that only read start without the large libraries."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from support.command_line import Distune
from support.experiments import small_values

HEAVY = {"torch", "ray", "optuna", "mlflow", "scipy", "matplotlib", "pandas", "numpy", "sqlalchemy", "alembic"}
REPORT = """
import json, sys
from distune.cli.main import main
for arguments in json.loads(sys.argv[1]):
    sys.argv[1:] = arguments
    try:
        main()
    except SystemExit as end:
        assert not end.code, arguments
    sys.stderr.write("MODULES " + " ".join({name.split(".")[0] for name in sys.modules}) + "\\n")
"""


def loaded_modules(home: Path, *commands: Sequence[str], first: str = "") -> list[set[str]]:
    """The top-level modules that are loaded after each of some commands, in one process."""
    done = subprocess.run(
        [sys.executable, "-c", first + REPORT, json.dumps(commands)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "DISTUNE_HOME": str(home)},
    )
    assert done.returncode == 0, done.stderr
    found = [line.split() for line in done.stderr.splitlines() if line.startswith("MODULES ")]
    assert len(found) == len(commands), done.stderr
    return [set(words[1:]) for words in found]


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    for modules in loaded_modules(tmp_path, ["--help"], ["status", "-h"], ["launch", "--help"]):
        assert not modules & HEAVY


def test_reading_a_study_loads_nothing_heavy(distune: Distune, tmp_path: Path, home: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**small_values(), "tracking": {"enabled": False}}))
    assert distune("launch", str(path), "--name", "small", "--simulate", "--runner", "local").status == 0
    commands = (["status"], ["status", "small"], ["status", "small", "--json"], ["best", "small"])
    for arguments, modules in zip(commands, loaded_modules(home, *commands), strict=True):
        assert not modules & HEAVY, arguments


def test_the_check_finds_a_heavy_module(tmp_path: Path) -> None:
    assert loaded_modules(tmp_path, ["--help"], first="import numpy\n")[0] & HEAVY == {"numpy"}


COMPLETE = """
import contextlib, json, os, sys
from distune.cli.main import main
for line in json.loads(sys.argv[1]):
    os.environ.update(COMP_WORDS=line, COMP_CWORD=str(len(line.split(" ")) - 1))
    with contextlib.suppress(SystemExit):
        main()
    print("END")
sys.stderr.write("MODULES " + " ".join({name.split(".")[0] for name in sys.modules}))
"""


def complete(home: Path, *lines: str) -> list[list[str]]:
    """The words that the shell offers at the end of each line."""
    done = subprocess.run(
        [sys.executable, "-c", COMPLETE, json.dumps(lines)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "_DISTUNE_COMPLETE": "complete_bash", "DISTUNE_HOME": str(home)},
    )
    assert not set(done.stderr.rsplit("MODULES ", 1)[1].split()) & HEAVY
    *answers, rest = done.stdout.split("END")
    assert not rest.strip()
    return [answer.split() for answer in answers]


def test_names_are_completed_without_anything_heavy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("first", "second"):
        (tmp_path / "studies" / name).mkdir(parents=True)
        (tmp_path / "studies" / name / "study.json").write_text("{}")
    (tmp_path / "quick.yaml").write_text("")
    (tmp_path / "quick.txt").write_text("")
    expected = {
        "distune status ": ["first", "second"],
        "distune confirm s": ["second"],
        "distune launch quickstart --warm-start f": ["first"],
        "distune launch qu": ["quickstart", "quick.yaml"],
        f"distune validate {tmp_path}/qu": [f"{tmp_path}/quick.yaml"],
        "distune launch quickstart --runner l": ["local"],
    }
    assert dict(zip(expected, complete(tmp_path, *expected), strict=True)) == expected
