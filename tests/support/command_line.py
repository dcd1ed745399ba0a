"""Runs the command line in this process."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import pytest
import typer

from distune.cli.main import build_app, main


@dataclasses.dataclass(frozen=True)
class Answer:
    """The output of a command, and its exit status."""

    status: int
    out: str
    err: str


Distune = Callable[..., Answer]
"""Runs ``distune`` with the arguments it is given."""


@functools.cache
def _command() -> Any:
    """The whole command line, built once per process."""
    return typer.main.get_command(build_app())


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Answer:
    """Run ``distune`` with these arguments."""
    monkeypatch.setattr("sys.argv", ["distune", *arguments])
    monkeypatch.setattr("distune.cli.main.build_app", _command)
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        main()
    printed = capsys.readouterr()
    return Answer(int(left.value.code or 0), printed.out, printed.err)
