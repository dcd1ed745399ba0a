"""Runs the command line in this process."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from distune.cli.main import main


@dataclasses.dataclass(frozen=True)
class Answer:
    """The output of a command, and its exit status."""

    status: int
    out: str
    err: str


Distune = Callable[..., Answer]
"""Runs ``distune`` with the arguments it is given."""


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Answer:
    """Run ``distune`` with these arguments."""
    monkeypatch.setattr("sys.argv", ["distune", *arguments])
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        main()
    printed = capsys.readouterr()
    return Answer(int(left.value.code or 0), printed.out, printed.err)
