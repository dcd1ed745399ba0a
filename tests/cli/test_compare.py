"""``distune compare``, and ``distune.compare`` in Python."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import distune
from support.command_line import Distune
from support.experiments import small_values
from support.prepared import copy_prepared


@pytest.fixture
def studies(home: Path) -> None:
    def make(root: Path) -> None:
        for name, epochs in (("one", 3), ("two", 4)):
            values = small_values({"tracking": {"enabled": False}, "training": {"epochs": epochs}})
            distune.launch(values, name=name, simulate=True, runner="local", callbacks=[], home=root)

    copy_prepared("compare", make, home)


@pytest.mark.usefixtures("studies")
def test_studies_and_trials_are_compared(distune: Distune) -> None:
    answer = distune("compare", "one", "two", "one/control")
    assert answer.status == 0, answer.err
    assert "training.epochs" in answer.out
    assert "simulated studies: nothing was trained" in answer.out
    values = json.loads(distune("compare", "one/0", "one/control", "--json").out)
    assert values["students"] == ["one/0", "one/control"]
    assert values["figures"]["trial"] == ["0", "control-1"]
    assert values["figures"]["gain"][1] is None
    assert "training.epochs" not in values["settings"]
    assert values["warnings"] == []


@pytest.mark.usefixtures("studies")
@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["one"], "one: name at least two studies or trials to compare"),
        (["one", "one"], "one: is named twice"),
        (["one", "three"], "study three was not found"),
        (["one", "one/9"], "there is no trial 9; known are control-1, 0, 1"),
        (["one", "one/teacher"], "the teacher is no trial"),
    ],
)
def test_what_cannot_be_compared_is_refused(distune: Distune, names: list[str], text: str) -> None:
    answer = distune("compare", *names)
    assert answer.status == 2
    assert text in answer.err


@pytest.mark.usefixtures("studies")
def test_python_returns_a_comparison(home: Path) -> None:
    comparison = distune.compare(["one", "two"], home=home)
    assert isinstance(comparison, distune.Comparison)
    assert comparison.settings["training.epochs"] == (3, 4)
    assert list(comparison.to_dataframe().index) == ["one", "two"]
