"""A study that was really trained, in seconds: made once for all tests of a run, and copied for those that ask."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from filelock import FileLock

NAME = "small"
"""Name of the study: 2 trials, a control and a teacher, all with students, not confirmed."""
_BIAS = "head.classification_head.cls_logits.bias"


def copy_trained_home(shared: Path, target: Path) -> Path:
    """Return a copy of the home with the study ``NAME``. It is made by the first process that asks.

    Args:
        shared: folder that all processes of the test run see.
        target: of the copy; must not exist.

    Returns:
        ``target``.
    """
    home = shared / "trained_home"
    with FileLock(shared / "trained_home.lock"):
        if not home.is_dir():
            _make(shared / "trained_home.new")
            (shared / "trained_home.new").rename(home)
    shutil.copytree(home, target)
    return target


def _make(home: Path) -> None:
    import distune
    from distune.training import checkpoint  # loads torch, which most tests do not need
    from support.experiments import small_values

    values = small_values({"search": {"scheduler": {"kind": "none"}}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTUNE_HOME", str(home))
        distune.launch(values, name=NAME, runner="local", callbacks=[])
    for file in home.rglob("best.pt"):
        content = checkpoint.load(file)
        assert content is not None
        content["model"][_BIAS] += 3.0  # the prior of a detector that has hardly trained is below every threshold
        checkpoint.save(content, file)
