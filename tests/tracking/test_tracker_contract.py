"""The contract of every tracker, and the spool tracker with a sink that fails."""

from __future__ import annotations

import dataclasses
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from distune.records import EpochReport, Outcome, TrialRecord, TrialSpec, TrialState
from distune.tracking.events import (
    EpochLogged,
    Event,
    FileLogged,
    StudyEnded,
    StudyStarted,
    TrialEnded,
    TrialLogged,
    TrialStarted,
    ViewLogged,
    encode,
)
from distune.tracking.sink import EventRefusedError, Sink, SinkUnavailableError
from distune.tracking.spool import SpoolLine
from distune.tracking.spool_sender import RetryPolicy, split_into_batches
from distune.tracking.spool_tracker import SpoolTracker
from distune.tracking.study_view import StudyView
from distune.tracking.tracker import NullTracker, Tracker

VIEW = StudyView(
    metric="AP",
    params=("distillation.prototypes.alpha",),
    names={"distillation.prototypes.alpha": "alpha", "distillation.prototypes.unique": "unique"},
    costs=("student/flops",),
)
IMPATIENT = RetryPolicy(linger_s=0.0, first_wait_s=0.005, longest_wait_s=0.02, attempts=3)


def make_spec(number: int = 7, **changes: object) -> TrialSpec:
    """A trial that starts."""
    spec = TrialSpec(
        study="blood",
        number=number,
        control=number < 0,
        seed=3,
        num_epochs=5,
        params={} if number < 0 else {"distillation.prototypes.alpha": 10.0, "distillation.prototypes.unique": True},
        experiment={},
        folder="trials",
        teacher_weights=None,
    )
    return dataclasses.replace(spec, **changes)  # type: ignore[arg-type]


def make_report(epoch: int, **metrics: float) -> EpochReport:
    """An epoch with its own end time."""
    return EpochReport(epoch=epoch, metrics=metrics or {"search/AP": epoch / 10}, finished_at=1_700_000_000.25 + epoch)


def make_record(number: int = 7, outcome: Outcome = Outcome.FINISHED, **changes: object) -> TrialRecord:
    """A trial that ended."""
    record = TrialRecord(
        number=number,
        state=TrialState.COMPLETE,
        outcome=outcome,
        control=number < 0,
        epochs=5,
        params={},
        metrics={"search/AP": 0.5, "gain/AP": 0.1, "loss/task": 2.0},
        seed=3,
    )
    return dataclasses.replace(record, **changes)  # type: ignore[arg-type]


class MemorySink:
    """Keeps events in a list. Can be unavailable, and refuse or fail on some events."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.num_calls = 0
        self.num_attempts = 0
        self.is_unavailable = False
        self.unavailable_after: int | None = None
        self.refuses: Callable[[Event], bool] = lambda event: False
        self.fails_on: Callable[[Event], bool] = lambda event: False

    def apply(self, events: Sequence[Event]) -> None:
        """See ``Sink.apply``. Takes all of the events or none."""
        self.num_attempts += 1
        if self.unavailable_after is not None and len(self.events) >= self.unavailable_after:
            self.is_unavailable = True
        if self.is_unavailable:
            raise SinkUnavailableError("connection to http://ann:secret@host refused")
        if any(self.refuses(event) for event in events):
            raise EventRefusedError("invalid name at http://ann:secret@host")
        if any(self.fails_on(event) for event in events):
            raise RuntimeError("unknown error at http://ann:secret@host")
        self.num_calls += 1
        self.events.extend(events)


def wait_until(is_true: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Wait for another thread until a condition is true."""
    deadline = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.002)


def log_a_study(tracker: Tracker, num_trials: int = 2) -> None:
    """A study of a few trials of three epochs."""
    tracker.start_study({"search.num_trials": num_trials}, {"hash": "abc"})
    tracker.log_view(VIEW)
    for number in range(num_trials):
        tracker.start_trial(make_spec(number))
        for epoch in (1, 2, 3):
            tracker.log_epoch(str(number), make_report(epoch))
        tracker.end_trial(make_record(number))
        tracker.log_trial(make_record(number), {"gain/AP": 0.1})
    tracker.describe("best trial 0", "**best trial 0**")
    tracker.log_study({"best/AP": 0.5}, {})
    tracker.end_study("finished")


def expected_kinds(num_trials: int = 2) -> list[str]:
    trial = ["TrialStarted", "EpochLogged", "EpochLogged", "EpochLogged", "TrialEnded", "TrialLogged"]
    return ["StudyStarted", "ViewLogged", *trial * num_trials, "StudyDescribed", "StudyLogged", "StudyEnded"]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def kinds(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


def spooled(folder: Path, sink: MemorySink) -> SpoolTracker:
    return SpoolTracker(folder, make_sink=lambda: sink, policy=IMPATIENT)


def no_sink() -> Sink:
    raise ConnectionError("no server")


MAKERS: dict[str, Callable[[Path], Tracker]] = {
    "null": lambda folder: NullTracker(),
    "spool": lambda folder: spooled(folder, MemorySink()),
    "spool without a sink": lambda folder: SpoolTracker(folder, make_sink=no_sink, policy=IMPATIENT),
}


@pytest.fixture(params=list(MAKERS))
def tracker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tracker]:
    tracker = MAKERS[request.param](tmp_path)
    yield tracker
    tracker.close()


class TestEveryTracker:
    """The contract of ``Tracker``: nothing raises, nothing waits."""

    def test_accepts_a_whole_study(self, tracker: Tracker) -> None:
        log_a_study(tracker, num_trials=10)
        tracker.replace_trial("7")
        assert tracker.blocking_error() is None
        tracker.close()

    def test_may_be_closed_twice_and_ignores_later_events(
        self, tracker: Tracker, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        log_a_study(tracker)
        tracker.close()
        before = contents(tmp_path)
        caplog.clear()
        tracker.close()
        log_a_study(tracker)
        assert contents(tmp_path) == before
        assert not [record for record in caplog.records if record.exc_info], "an exception was caught and logged"

    def test_accepts_invalid_values(self, tracker: Tracker, caplog: pytest.LogCaptureFixture) -> None:
        tracker.log_epoch("unknown", EpochReport(epoch=1, metrics={"AP": float("nan")}, finished_at=float("nan")))
        tracker.log_file(None, Path("missing"), "..")
        tracker.end_study("no such state")
        tracker.start_study({"x": None}, {"y": None})  # type: ignore[dict-item]
        tracker.close()
        assert not [record for record in caplog.records if record.exc_info], "an exception was caught and logged"


def test_events_after_close_are_neither_sent_nor_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sink = MemorySink()
    tracker = spooled(tmp_path, sink)
    log_a_study(tracker)
    tracker.close()
    log_a_study(tracker)
    assert tracker.blocking_error() is None
    tracker.close()
    assert kinds(sink.events) == expected_kinds()
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert errors == ["an event came after the tracker was closed and is lost"]
    spooled(tmp_path, sink).close()
    assert kinds(sink.events) == expected_kinds(), "a late event waited in the spool"


def test_events_after_invalid_ones_still_arrive(tmp_path: Path) -> None:
    sink = MemorySink()
    tracker = spooled(tmp_path, sink)
    tracker.start_study({(1, 2): object()}, {})  # type: ignore[dict-item]
    tracker.end_trial("no record")  # type: ignore[arg-type]
    tracker.end_study("finished")
    tracker.close()
    assert sink.events[-1:] == [StudyEnded(at_ms=sink.events[-1].at_ms, state="finished")]


def test_every_event_arrives_once_and_in_order(tmp_path: Path) -> None:
    sink = MemorySink()
    tracker = spooled(tmp_path, sink)
    log_a_study(tracker)
    tracker.close()
    assert kinds(sink.events) == expected_kinds()
    first, view, start, epoch = sink.events[:4]
    assert isinstance(first, StudyStarted)
    assert first.tags == {"hash": "abc"}
    assert view == ViewLogged(at_ms=view.at_ms, view=VIEW)
    assert isinstance(start, TrialStarted)
    assert (start.key, start.seed, start.params, start.names) == ("0", 3, make_spec(0).params, VIEW.names)
    assert epoch == EpochLogged(key="0", report=make_report(1))
    assert epoch.at_ms == 1_700_000_001_250
    end, figures = sink.events[6:8]
    assert isinstance(end, TrialEnded)
    assert end.record == make_record(0)
    assert figures == TrialLogged(at_ms=figures.at_ms, key="0", step=5, metrics={"gain/AP": 0.1}, params={})


def test_epochs_in_a_row_are_sent_in_one_call(tmp_path: Path) -> None:
    sink = MemorySink()
    sink.is_unavailable = True
    tracker = spooled(tmp_path, sink)
    for epoch in range(1, 101):
        tracker.log_epoch("0", make_report(epoch))
    sink.is_unavailable = False
    tracker.close()
    assert len(sink.events) == 100
    assert sink.num_calls <= 3


def test_a_file_is_found_from_any_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sink = MemorySink()
    tracker = spooled(tmp_path, sink)
    tracker.log_file(None, Path("report.html"), "report")
    tracker.close()
    (event,) = sink.events
    assert isinstance(event, FileLogged)
    assert event.path == str(tmp_path / "report.html")


@pytest.mark.parametrize("unavailable_after", [0, 1, 4, 11])
def test_an_outage_ends_and_everything_arrives_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, unavailable_after: int
) -> None:
    caplog.set_level(logging.INFO)
    sink = MemorySink()
    sink.unavailable_after = unavailable_after
    tracker = spooled(tmp_path, sink)
    log_a_study(tracker)
    wait_until(lambda: sink.is_unavailable)
    attempts = sink.num_attempts
    wait_until(lambda: sink.num_attempts > attempts + 2)
    sink.unavailable_after, sink.is_unavailable = None, False
    tracker.close()
    assert kinds(sink.events) == expected_kinds()
    messages = [record.getMessage() for record in caplog.records]
    assert len([text for text in messages if "is unavailable" in text]) == 1
    assert len([text for text in messages if "is available again" in text]) == 1
    assert "ann:secret" not in caplog.text


@pytest.mark.parametrize("unavailable_after", [0, 1, 4, 11])
def test_events_of_an_outage_are_sent_by_the_next_session(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, unavailable_after: int
) -> None:
    sink = MemorySink()
    sink.unavailable_after = unavailable_after
    first = spooled(tmp_path, sink)
    log_a_study(first)
    first.close()
    assert "next session" in caplog.text
    assert len(sink.events) < len(expected_kinds())
    sink.unavailable_after, sink.is_unavailable = None, False
    second = spooled(tmp_path, sink)
    second.end_study("interrupted")
    second.close()
    assert kinds(sink.events) == [*expected_kinds(), "StudyEnded"]
    third = spooled(tmp_path, sink)
    third.close()
    assert len(sink.events) == len(expected_kinds()) + 1


def test_a_second_session_without_events_sends_those_of_the_first(tmp_path: Path) -> None:
    first = SpoolTracker(tmp_path, make_sink=no_sink, policy=IMPATIENT)
    first.end_study("finished")
    first.close()
    sink = MemorySink()
    spooled(tmp_path, sink).close()
    assert kinds(sink.events) == ["StudyEnded"]


def test_closing_with_an_unavailable_server_is_fast(tmp_path: Path) -> None:
    sink = MemorySink()
    sink.is_unavailable = True
    tracker = SpoolTracker(tmp_path, make_sink=lambda: sink)
    tracker.end_study("finished")
    begin = time.perf_counter()
    tracker.close()
    assert time.perf_counter() - begin < 5


class HangingSink:
    """Blocks until it is released."""

    def __init__(self) -> None:
        self.is_released = threading.Event()

    def apply(self, events: Sequence[Event]) -> None:
        """See ``Sink.apply``."""
        self.is_released.wait(60)


def test_nothing_waits_for_a_sink_that_hangs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sink = HangingSink()
    tracker = SpoolTracker(tmp_path, make_sink=lambda: sink, policy=IMPATIENT)
    begin = time.perf_counter()
    log_a_study(tracker)
    assert tracker.blocking_error() is None
    tracker.close(timeout_s=0.05)
    waited_s = time.perf_counter() - begin
    sink.is_released.set()
    assert waited_s < 30
    assert "next session" in caplog.text


@pytest.mark.parametrize("how", ["refuses", "fails_on"])
def test_a_refused_event_is_kept_in_a_file_and_the_others_arrive(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    sink = MemorySink()
    sink.is_unavailable = True
    setattr(sink, how, lambda event: isinstance(event, EpochLogged) and event.report.epoch == 2)
    tracker = spooled(tmp_path, sink)
    log_a_study(tracker)
    sink.is_unavailable = False
    tracker.close()
    trial = ["TrialStarted", "EpochLogged", "EpochLogged", "TrialEnded", "TrialLogged"]
    expected = ["StudyStarted", "ViewLogged", *trial * 2, "StudyDescribed", "StudyLogged", "StudyEnded"]
    assert kinds(sink.events) == expected
    refused = [json.loads(line) for line in (tmp_path / "spool.refused.jsonl").read_text().splitlines()]
    assert [json.loads(entry["line"])["report"]["epoch"] for entry in refused] == [2, 2]
    assert {entry["error"] for entry in refused} == {
        "invalid name at http://***@host" if how == "refuses" else "unknown error at http://***@host"
    }
    assert "secret" not in caplog.text
    assert len([r for r in caplog.records if "refused an event" in r.getMessage()]) == 1
    assert "2 events were refused" in caplog.text


def test_a_damaged_line_is_refused_and_the_others_arrive(tmp_path: Path) -> None:
    events = [StudyEnded(at_ms=1, state="a"), StudyEnded(at_ms=1, state="b")]
    (tmp_path / "spool.jsonl").write_bytes(encode(events[0]) + b"\x00\xff rubbish\n" + encode(events[1]))
    sink = MemorySink()
    spooled(tmp_path, sink).close()
    assert sink.events == events
    assert "rubbish" in (tmp_path / "spool.refused.jsonl").read_text()


def test_a_sink_that_cannot_be_opened_at_first_is_opened_later(tmp_path: Path) -> None:
    sink = MemorySink()
    failures = iter([ImportError("no driver"), RuntimeError("old schema")])

    def make_sink() -> Sink:
        for failure in failures:
            raise failure
        return sink

    tracker = SpoolTracker(tmp_path, make_sink=make_sink, policy=IMPATIENT)
    tracker.end_study("finished")
    wait_until(lambda: len(sink.events) == 1)
    tracker.close()


def test_batches_keep_the_order_and_join_only_neighboring_epochs() -> None:
    epochs = [EpochLogged(key=key, report=make_report(1)) for key in "abc"]
    events: list[Event | None] = [*epochs[:2], StudyEnded(at_ms=0, state="x"), epochs[2], None, None]
    lines = [SpoolLine(b"", end, event) for end, event in enumerate(events)]
    assert split_into_batches(lines) == [lines[:2], [lines[2]], [lines[3]], [lines[4]], [lines[5]]]
    assert split_into_batches([]) == []
