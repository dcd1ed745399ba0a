"""Fixtures of the tests of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.command_line import Distune, run


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of the studies, not created yet; the working folder is beside it."""
    monkeypatch.setenv("DISTUNE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def distune(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, home: Path) -> Distune:
    """Runs the command line in this process: ``distune("status", "mine")``."""
    return lambda *arguments: run(capsys, monkeypatch, *arguments)
