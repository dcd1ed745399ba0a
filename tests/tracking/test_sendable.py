"""A study's folder from somebody else sends no file that lies elsewhere."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from distune.tracking.events import Event, FileLogged
from distune.tracking.sendable import check_sendable
from distune.tracking.spool_tracker import SpoolTracker


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file outside of the study's folder."""
    path = tmp_path / "ssh" / "id_rsa"
    path.parent.mkdir()
    path.write_text("secret")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a study, with a file that may be sent."""
    path = tmp_path / "study"
    (path / "report").mkdir(parents=True)
    (path / "report" / "a.png").write_text("picture")
    return path


def absolute(folder: Path, secret: Path) -> Path:
    return secret


def with_dots(folder: Path, secret: Path) -> Path:
    return folder / "report" / ".." / ".." / "ssh" / "id_rsa"


def by_a_link(folder: Path, secret: Path) -> Path:
    link = folder / "link.png"
    link.symlink_to(secret)
    return link


def by_a_linked_folder(folder: Path, secret: Path) -> Path:
    (folder / "linked").symlink_to(secret.parent)
    return folder / "linked" / "id_rsa"


def by_a_link_in_a_folder(folder: Path, secret: Path) -> Path:
    (folder / "report" / "deep").mkdir()
    (folder / "report" / "deep" / "link").symlink_to(secret)
    return folder / "report"


def by_a_circle(folder: Path, secret: Path) -> Path:
    (folder / "report" / "self").symlink_to(folder / "report")
    return folder / "report"


def by_a_fifo(folder: Path, secret: Path) -> Path:
    os.mkfifo(folder / "report" / "fifo")
    return folder / "report"


Way = Callable[[Path, Path], Path]
WAYS: list[Way] = [
    absolute,
    with_dots,
    by_a_link,
    by_a_linked_folder,
    by_a_link_in_a_folder,
    by_a_circle,
    by_a_fifo,
]


class Sink:
    """Keeps what it gets."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def apply(self, events: object) -> None:
        self.events += list(events)  # type: ignore[call-overload]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_only_files_of_the_study_are_sent(
    way: Way, folder: Path, secret: Path, caplog: pytest.LogCaptureFixture
) -> None:
    named = way(folder, secret)
    lines = [
        {"event": "file", "at_ms": 1, "key": None, "path": str(path), "folder": ""} for path in (named, "report/a.png")
    ]
    (folder / "spool.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    sink = Sink()
    SpoolTracker(folder, make_sink=lambda: sink).close()
    assert [event.path for event in sink.events if isinstance(event, FileLogged)] == [str(folder / "report" / "a.png")]
    refused = json.loads((folder / "spool.refused.jsonl").read_text())
    assert "not sent" in refused["error"]
    assert "an event cannot be sent" in caplog.text


def test_a_study_behind_a_link_sends_its_own_files(folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder)
    check_sendable(link / "report" / "a.png", link)
    check_sendable(link / "report", link)
    check_sendable(link / "missing", link)
