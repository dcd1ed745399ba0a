"""The spool loses no event, writes no partial line and never raises."""

from __future__ import annotations

import errno
import logging
import math
import os
import threading
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distune.records import EpochReport
from distune.tracking.events import EVENT_KINDS, EpochLogged, Event, StudyEnded, StudyLogged, decode, encode
from distune.tracking.spool import Spool


@pytest.fixture
def open_spool() -> Iterator[Callable[[Path], Spool]]:
    """Opens spools and closes them after the test."""
    opened: list[Spool] = []

    def open_one(folder: Path) -> Spool:
        opened.append(Spool(folder))
        return opened[-1]

    yield open_one
    for spool in opened:
        spool.close()


OpenSpool = Callable[[Path], Spool]


def ended(text: str) -> StudyEnded:
    return StudyEnded(at_ms=1, state=text)


def states(spool: Spool, offset: int = 0) -> list[str]:
    return [line.event.state for line in spool.read_from(offset) if isinstance(line.event, StudyEnded)]


@given(
    st.text(),
    st.dictionaries(st.text(), st.floats(allow_nan=False)),
    st.floats(min_value=0, max_value=2**40),
)
def test_an_event_is_read_back_from_its_line(key: str, metrics: dict[str, float], finished_at: float) -> None:
    event = EpochLogged(key=key, report=EpochReport(epoch=3, metrics=metrics, finished_at=finished_at))
    line = encode(event)
    assert decode(line) == event
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")


def test_an_event_may_contain_nan_and_numbers_of_numpy() -> None:
    metrics: dict[str, Any] = {"nan": math.nan, "inf": math.inf, "numpy": np.float32(0.5), "whole": np.int64(2)}
    event = decode(encode(EpochLogged(key="1", report=EpochReport(epoch=1, metrics=metrics, finished_at=0.0))))
    assert isinstance(event, EpochLogged)
    decoded = event.report.metrics
    assert math.isnan(decoded["nan"])
    assert decoded["inf"] == math.inf
    assert (decoded["numpy"], decoded["whole"]) == (0.5, 2)


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b"3", b'{"event": "unknown"}', b'{"event": "study_ended"}', b"\xff"]
)
def test_a_line_that_is_not_an_event_is_an_error(line: bytes) -> None:
    with pytest.raises(ValueError, match="no event"):
        decode(line)


def test_every_kind_of_event_has_one_name() -> None:
    assert set(EVENT_KINDS.values()) == set(typing.get_args(Event))
    assert len(EVENT_KINDS) == len(set(EVENT_KINDS.values()))


def test_lines_come_back_in_order_and_from_any_offset(tmp_path: Path, open_spool: OpenSpool) -> None:
    spool = open_spool(tmp_path / "study")
    for text in "abcd":
        spool.append(ended(text))
    lines = spool.read_from(0)
    assert states(spool) == list("abcd")
    assert states(spool, lines[1].end) == ["c", "d"]
    assert len(spool.read_from(0, max_lines=3)) == 3
    assert spool.read_from(lines[-1].end) == []


def test_the_offset_is_remembered(tmp_path: Path, open_spool: OpenSpool) -> None:
    first = open_spool(tmp_path)
    assert not first.has_backlog
    first.append(ended("a"))
    first.append(ended("b"))
    first.commit(first.read_from(0)[0].end)
    first.close()
    second = open_spool(tmp_path)
    assert second.has_backlog
    assert states(second, second.committed) == ["b"]


@pytest.mark.parametrize("partial", [b'{"event": "stu', b"x" * 20_000, b""])
@pytest.mark.parametrize("num_whole", [0, 2])
def test_a_partial_last_line_is_removed_at_opening(
    tmp_path: Path, open_spool: OpenSpool, partial: bytes, num_whole: int
) -> None:
    first = open_spool(tmp_path)
    for number in range(num_whole):
        first.append(ended(str(number)))
    first.close()
    with first.path.open("ab") as file:
        file.write(partial)
    second = open_spool(tmp_path)
    second.append(ended("new"))
    assert states(second) == [*map(str, range(num_whole)), "new"]


@pytest.mark.parametrize("content", [b"", b"rubbish", b"-5", b"999999"])
def test_a_damaged_offset_loses_no_later_event(tmp_path: Path, open_spool: OpenSpool, content: bytes) -> None:
    first = open_spool(tmp_path)
    first.append(ended("a"))
    first.close()
    (tmp_path / "spool.offset").write_bytes(content)
    second = open_spool(tmp_path)
    second.append(ended("b"))
    assert states(second, second.committed)[-1] == "b"


def test_a_full_disk_is_logged_once_and_lines_are_written_when_there_is_room(
    tmp_path: Path,
    open_spool: OpenSpool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    spool = open_spool(tmp_path)
    spool.append(ended("before"))
    file = fill_the_disk(spool)
    for text in "abc":
        spool.append(ended(text))
    assert states(spool) == ["before"], "half a line was left in the file"
    assert "spool.jsonl cannot be written: " in (spool.blocking_error() or "")
    assert len(caplog.records) == 1
    assert "cannot be written" in caplog.text
    file.is_full = False
    spool.append(ended("d"))
    assert states(spool) == ["before", "a", "b", "c", "d"]
    assert spool.blocking_error() is None
    spool.close()
    assert len(caplog.records) == 1


def test_blocking_error_writes_the_lines_when_there_is_room(tmp_path: Path, open_spool: OpenSpool) -> None:
    spool = open_spool(tmp_path)
    assert spool.blocking_error() is None
    file = fill_the_disk(spool)
    spool.append(ended("a"))
    assert spool.blocking_error() is not None
    file.is_full = False
    assert spool.blocking_error() is None
    assert states(spool) == ["a"]


def test_blocking_error_syncs_the_file(tmp_path: Path, open_spool: OpenSpool, monkeypatch: pytest.MonkeyPatch) -> None:
    forced: list[int] = []
    monkeypatch.setattr("os.fsync", lambda descriptor: forced.append(os.fstat(descriptor).st_size))
    spool = open_spool(tmp_path)
    spool.append(ended("first"))
    assert forced == []
    assert spool.blocking_error() is None
    assert forced == [spool.path.stat().st_size]


def test_a_failed_sync_is_a_blocking_error(
    tmp_path: Path, open_spool: OpenSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    spool = open_spool(tmp_path)
    spool.append(ended("first"))
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", refuse)
        assert "spool.jsonl cannot be synced to the disk: " in (spool.blocking_error() or "")
    assert "spool.jsonl cannot be synced to the disk: " in (spool.blocking_error() or ""), (
        "the system reports a lost page only once"
    )


def test_a_file_system_without_fsync_is_accepted(
    tmp_path: Path, open_spool: OpenSpool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    spool = open_spool(tmp_path)
    spool.append(ended("first"))
    monkeypatch.setattr("os.fsync", refuse)
    assert spool.blocking_error() is None
    assert spool.blocking_error() is None
    assert caplog.text.count("cannot be synced to the disk") == 1


def test_events_that_could_not_be_written_are_counted_at_the_end(
    tmp_path: Path,
    open_spool: OpenSpool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    spool = open_spool(tmp_path)
    fill_the_disk(spool)
    spool.append(ended("a"))
    spool.append(ended("b"))
    spool.close()
    assert "2 events" in caplog.text


def test_events_beyond_the_limit_of_the_memory_are_counted_too(
    tmp_path: Path, open_spool: OpenSpool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("distune.tracking.spool._MAX_UNWRITTEN", 3)
    spool = open_spool(tmp_path)
    fill_the_disk(spool)
    for number in range(5):
        spool.append(ended(str(number)))
    spool.close()
    assert "5 events" in caplog.text


def test_nothing_raises_when_the_folder_is_deleted(
    tmp_path: Path, open_spool: OpenSpool, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "study"
    spool = open_spool(folder)
    spool.append(ended("a"))
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    spool.append(ended("b"))
    spool.commit(3)
    spool.commit(4)
    spool.save_refused(b"{}")
    assert spool.read_from(0) == []
    assert {record.levelno for record in caplog.records} == {logging.ERROR}
    assert len(caplog.records) == 3
    spool.close()
    spool.append(ended("too late"))
    assert "after the tracker was closed" in caplog.text


def test_an_invalid_event_does_not_raise(
    tmp_path: Path, open_spool: OpenSpool, caplog: pytest.LogCaptureFixture
) -> None:
    spool = open_spool(tmp_path)
    spool.append("text")  # type: ignore[arg-type]
    spool.append(StudyLogged(at_ms=0, metrics={(1, 2): 0.5}, tags={}))  # type: ignore[dict-item]
    spool.append(ended("a"))
    assert states(spool) == ["a"]
    assert len(caplog.records) == 1


def test_many_threads_write_complete_lines(tmp_path: Path, open_spool: OpenSpool) -> None:
    spool = open_spool(tmp_path)

    def write(name: int) -> None:
        for number in range(50):
            spool.append(ended(f"{name}-{number}"))

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(states(spool)) == sorted(f"{name}-{number}" for name in range(4) for number in range(50))


class FullDisk:
    """Takes half of a line and then nothing, until there is room."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self.is_full = True

    def write(self, line: bytes) -> int:
        written = self._file.write(line[: len(line) // 2] if self.is_full else line)
        return int(written)

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        self._file.close()


def fill_the_disk(spool: Spool) -> FullDisk:
    file = FullDisk(spool.path)
    whole = spool._file
    assert whole is not None
    whole.close()
    spool._file = file  # type: ignore[assignment]
    return file
