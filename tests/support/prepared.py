"""Homes with studies that many tests only read: each is made once per process, and copied for those that ask."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from distune.study.runners.simulation import ENVIRONMENT_VARIABLE

_MADE: dict[str, Path] = {}


def copy_prepared(key: object, make: Callable[[Path], object], home: Path) -> None:
    """Copy a home to ``home``.

    Tests may change their copy. Not for studies with a tracking server, which would notice that they are copies.

    Args:
        key: of the home; everything that ``make`` depends on.
        make: fills a folder; called for the first test that asks.
        home: the home of the test, directly below its ``tmp_path``; it may exist.
    """
    assert ENVIRONMENT_VARIABLE not in os.environ, "a prepared study has no faults"
    if repr(key) not in _MADE:
        folder = Path(tempfile.mkdtemp(prefix="prepared-", dir=home.parents[1])) / "home"
        make(folder)
        _MADE[repr(key)] = folder
    shutil.copytree(_MADE[repr(key)], home, dirs_exist_ok=True)
