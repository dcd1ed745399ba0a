"""Commands that only read start without the large libraries."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from support.command_line import Distune
from support.experiments import small_values

HEAVY = {"torch", "ray", "optuna", "mlflow", "scipy", "matplotlib", "pandas", "numpy", "sqlalchemy", "alembic"}
REPORT = """
import sys
from distune.cli.main import main
try:
    main()
finally:
    sys.stderr.write("MODULES " + " ".join({name.split(".")[0] for name in sys.modules}))
"""


def loaded_modules(home: Path, *arguments: str, environment: dict[str, str] | None = None) -> set[str]:
    """The top-level modules that a command has loaded at its end."""
    environment = {**os.environ, "DISTUNE_HOME": str(home), **(environment or {})}
    done = subprocess.run(
        [sys.executable, "-c", REPORT, *arguments], capture_output=True, text=True, timeout=60, env=environment
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.rsplit("MODULES ", 1)[1].split())


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    for arguments in (["--help"], ["status", "-h"], ["launch", "--help"]):
        assert not loaded_modules(tmp_path, *arguments) & HEAVY


def test_reading_a_study_loads_nothing_heavy(distune: Distune, tmp_path: Path, home: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**small_values(), "tracking": {"enabled": False}}))
    assert distune("launch", str(path), "--name", "small", "--simulate", "--runner", "local").status == 0
    for arguments in (["status"], ["status", "small"], ["status", "small", "--json"], ["best", "small"]):
        assert not loaded_modules(home, *arguments) & HEAVY, arguments


def complete(home: Path, line: str) -> list[str]:
    """The words that the shell offers at the end of a line."""
    environment = {
        "_DISTUNE_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
        "DISTUNE_HOME": str(home),
    }
    done = subprocess.run(
        [sys.executable, "-c", REPORT], capture_output=True, text=True, timeout=60, env={**os.environ, **environment}
    )
    assert not set(done.stderr.rsplit("MODULES ", 1)[1].split()) & HEAVY
    return done.stdout.split()


def test_names_are_completed_without_anything_heavy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("first", "second"):
        (tmp_path / "studies" / name).mkdir(parents=True)
        (tmp_path / "studies" / name / "study.json").write_text("{}")
    (tmp_path / "quick.yaml").write_text("")
    (tmp_path / "quick.txt").write_text("")
    assert complete(tmp_path, "distune status ") == ["first", "second"]
    assert complete(tmp_path, "distune confirm s") == ["second"]
    assert complete(tmp_path, "distune launch quickstart --warm-start f") == ["first"]
    assert complete(tmp_path, "distune launch qu") == ["quickstart", "quick.yaml"]
    assert complete(tmp_path, f"distune validate {tmp_path}/qu") == [f"{tmp_path}/quick.yaml"]
    assert complete(tmp_path, "distune launch quickstart --runner l") == ["local"]


def test_the_check_finds_a_heavy_module(tmp_path: Path) -> None:
    """Validation plans a study, which needs more."""
    assert loaded_modules(tmp_path, "validate", "quickstart") & HEAVY
