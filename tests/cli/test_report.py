"""``distune report``: writes the page, opens it, and refuses in words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import distune as api
from support.command_line import Distune
from support.experiments import small_values
from support.prepared import copy_prepared

pytestmark = pytest.mark.usefixtures("written_pages")


@pytest.fixture
def study(home: Path) -> str:
    def make(root: Path) -> None:
        values = small_values({"search": {"num_trials": 2}, "tracking": {"enabled": False}})
        api.launch(values, name="small", simulate=True, runner="local", callbacks=[], home=root)

    copy_prepared("a study with its page", make, home)
    return "small"


def test_it_prints_the_file(distune: Distune, study: str, home: Path, tmp_path: Path) -> None:
    file = home / "studies" / study / "report" / "report.html"
    written = file.stat().st_mtime_ns
    answer = distune("report", study)
    assert answer.status == 0
    assert answer.out.replace("\n", "") == f"report: {file}"
    assert file.stat().st_mtime_ns > written
    answer = distune("report", study, "--output", "mine.html", "--json")
    assert json.loads(answer.out) == {
        "study": study,
        "report": "mine.html",
        "bytes": (tmp_path / "mine.html").stat().st_size,
    }


def test_it_opens_the_browser(distune: Distune, study: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def open_first(address: str) -> bool:
        opened.append(address)
        return len(opened) == 1

    monkeypatch.setattr("webbrowser.open", open_first)
    assert "no browser" not in distune("report", study, "--open").err
    assert "no browser was found" in distune("report", study, "--open").err
    assert opened[0].startswith("file:///")
    assert opened[0].endswith("/report/report.html")


def test_what_cannot_be_written_is_refused_in_words(distune: Distune, study: str, tmp_path: Path) -> None:
    answer = distune("report", study, "--output", str(tmp_path))
    assert answer.status == 2
    assert "is a folder" in answer.err
    (tmp_path / "file").write_text("")
    answer = distune("report", study, "--output", str(tmp_path / "file" / "x.html"))
    assert answer.status == 2
    assert "the report cannot be written: " in answer.err
    assert "Traceback" not in answer.err


def test_an_unknown_study_is_named(distune: Distune, study: str) -> None:
    answer = distune("report", "other")
    assert answer.status == 2
    assert "study other was not found" in answer.err
    assert study in answer.err
