"""What holds for every tracker, and what holds for the spooled one when its sink misbehaves."""

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
    TrialStarted,
    encode,
)
from distune.tracking.shipping import Parcel, ShippingPolicy, Unreadable, pack
from distune.tracking.sink import EventRefusedError, Sink, SinkUnavailableError
from distune.tracking.spool import SpoolLine
from distune.tracking.spool_tracker import SpoolTracker
from distune.tracking.tracker import NullTracker, Tracker

IMPATIENT = ShippingPolicy(linger_s=0.0, first_wait_s=0.005, longest_wait_s=0.02, attempts=3)


def make_spec(number: int = 7, **changes: object) -> TrialSpec:
    """A trial that begins."""
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
    """An epoch that ended at a time of its own."""
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
    """Keeps events in a list. Can be away, be slow to be made, and refuse or choke on some events."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.num_calls = 0
        self.num_attempts = 0
        self.is_away = False
        self.away_after: int | None = None
        self.refuses: Callable[[Event], bool] = lambda event: False
        self.chokes_on: Callable[[Event], bool] = lambda event: False

    def apply(self, events: Sequence[Event]) -> None:
        """See ``Sink.apply``. Takes all of the events or none."""
        self.num_attempts += 1
        if self.away_after is not None and len(self.events) >= self.away_after:
            self.is_away = True
        if self.is_away:
            raise SinkUnavailableError("connection to http://ann:secret@host refused")
        if any(self.refuses(event) for event in events):
            raise EventRefusedError("invalid name")
        if any(self.chokes_on(event) for event in events):
            raise RuntimeError("something unforeseen")
        self.num_calls += 1
        self.events.extend(events)


def wait_until(is_true: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Let another thread work until something holds."""
    deadline = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


def tell_a_study(tracker: Tracker, num_trials: int = 2) -> None:
    """A study of a few trials of three epochs."""
    tracker.start_study({"search.num_trials": num_trials}, {"hash": "abc"})
    for number in range(num_trials):
        tracker.start_trial(make_spec(number))
        for epoch in (1, 2, 3):
            tracker.log_epoch(str(number), make_report(epoch))
        tracker.end_trial(make_record(number))
    tracker.log_study({"best/AP": 0.5}, {})
    tracker.end_study("finished")


def expected_kinds(num_trials: int = 2) -> list[str]:
    trial = ["TrialStarted", "EpochLogged", "EpochLogged", "EpochLogged", "TrialEnded"]
    return ["StudyStarted", *trial * num_trials, "StudyLogged", "StudyEnded"]


def kinds(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


def spooled(folder: Path, sink: MemorySink) -> SpoolTracker:
    return SpoolTracker(folder, make_sink=lambda: sink, policy=IMPATIENT)


def no_sink() -> Sink:
    raise ConnectionError("nobody is there")


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

    def test_takes_a_whole_study(self, tracker: Tracker) -> None:
        tell_a_study(tracker, num_trials=10)
        assert tracker.blocking_error() is None
        tracker.close()

    def test_may_be_closed_twice_and_told_things_afterwards(self, tracker: Tracker) -> None:
        tracker.close()
        tracker.close()
        tell_a_study(tracker)

    def test_takes_nonsense(self, tracker: Tracker) -> None:
        tracker.log_epoch("unknown", EpochReport(epoch=1, metrics={"AP": float("nan")}, finished_at=float("nan")))
        tracker.log_file(None, Path("missing"), "..")
        tracker.end_study("no such state")
        tracker.start_study({"x": None}, {"y": None})  # type: ignore[dict-item]
        tracker.close()


def test_every_event_arrives_once_and_in_order(tmp_path: Path) -> None:
    sink = MemorySink()
    tracker = spooled(tmp_path, sink)
    tell_a_study(tracker)
    tracker.close()
    assert kinds(sink.events) == expected_kinds()
    first, start, epoch = sink.events[0], sink.events[1], sink.events[2]
    assert isinstance(first, StudyStarted)
    assert first.tags == {"hash": "abc"}
    assert isinstance(start, TrialStarted)
    assert (start.key, start.seed, start.params) == ("0", 3, make_spec(0).params)
    assert epoch == EpochLogged(at_ms=1_700_000_001_250, key="0", epoch=1, metrics={"search/AP": 0.1})
    end = sink.events[5]
    assert isinstance(end, TrialEnded)
    assert (end.outcome, end.state, end.epochs) == ("finished", "COMPLETE", 5)


def test_epochs_in_a_row_share_a_call(tmp_path: Path) -> None:
    sink = MemorySink()
    sink.is_away = True
    tracker = spooled(tmp_path, sink)
    for epoch in range(1, 101):
        tracker.log_epoch("0", make_report(epoch))
    sink.is_away = False
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


@pytest.mark.parametrize("away_after", [0, 1, 4, 11])
def test_an_outage_ends_and_everything_arrives_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, away_after: int
) -> None:
    caplog.set_level(logging.INFO)
    sink = MemorySink()
    sink.away_after = away_after
    tracker = spooled(tmp_path, sink)
    tell_a_study(tracker)
    wait_until(lambda: sink.is_away)
    attempts = sink.num_attempts
    wait_until(lambda: sink.num_attempts > attempts + 2)
    sink.away_after, sink.is_away = None, False
    tracker.close()
    assert kinds(sink.events) == expected_kinds()
    messages = [record.getMessage() for record in caplog.records]
    assert len([text for text in messages if "is away" in text]) == 1
    assert len([text for text in messages if "is back" in text]) == 1
    assert "ann:secret" not in caplog.text


@pytest.mark.parametrize("away_after", [0, 1, 4, 11])
def test_what_an_outage_held_back_is_sent_by_the_next_session(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, away_after: int
) -> None:
    sink = MemorySink()
    sink.away_after = away_after
    first = spooled(tmp_path, sink)
    tell_a_study(first)
    first.close()
    assert "next session" in caplog.text
    assert len(sink.events) < len(expected_kinds())
    sink.away_after, sink.is_away = None, False
    second = spooled(tmp_path, sink)
    second.end_study("interrupted")
    second.close()
    assert kinds(sink.events) == [*expected_kinds(), "StudyEnded"]
    third = spooled(tmp_path, sink)
    third.close()
    assert len(sink.events) == len(expected_kinds()) + 1


def test_a_second_session_with_nothing_to_say_still_sends_what_was_left(tmp_path: Path) -> None:
    first = SpoolTracker(tmp_path, make_sink=no_sink, policy=IMPATIENT)
    first.end_study("finished")
    first.close()
    sink = MemorySink()
    spooled(tmp_path, sink).close()
    assert kinds(sink.events) == ["StudyEnded"]


def test_closing_with_a_dead_server_is_quick(tmp_path: Path) -> None:
    sink = MemorySink()
    sink.is_away = True
    tracker = SpoolTracker(tmp_path, make_sink=lambda: sink)
    tracker.end_study("finished")
    begin = time.perf_counter()
    tracker.close()
    assert time.perf_counter() - begin < 5


class HangingSink:
    """Takes nothing until it is set free."""

    def __init__(self) -> None:
        self.is_free = threading.Event()

    def apply(self, events: Sequence[Event]) -> None:
        """See ``Sink.apply``."""
        self.is_free.wait(60)


def test_nothing_waits_for_a_sink_that_hangs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sink = HangingSink()
    tracker = SpoolTracker(tmp_path, make_sink=lambda: sink, policy=IMPATIENT)
    begin = time.perf_counter()
    tell_a_study(tracker)
    assert tracker.blocking_error() is None
    tracker.close(timeout_s=0.05)
    waited_s = time.perf_counter() - begin
    sink.is_free.set()
    assert waited_s < 30
    assert "next session" in caplog.text


@pytest.mark.parametrize("how", ["refuses", "chokes_on"])
def test_a_poisoned_event_is_set_aside_and_the_others_arrive(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    sink = MemorySink()
    sink.is_away = True
    setattr(sink, how, lambda event: isinstance(event, EpochLogged) and event.epoch == 2)
    tracker = spooled(tmp_path, sink)
    tell_a_study(tracker)
    sink.is_away = False
    tracker.close()
    trial = ["TrialStarted", "EpochLogged", "EpochLogged", "TrialEnded"]
    assert kinds(sink.events) == ["StudyStarted", *trial * 2, "StudyLogged", "StudyEnded"]
    refused = [json.loads(line) for line in (tmp_path / "spool.refused.jsonl").read_text().splitlines()]
    assert [json.loads(entry["line"])["epoch"] for entry in refused] == [2, 2]
    assert {entry["error"] for entry in refused} == {"invalid name" if how == "refuses" else "something unforeseen"}
    assert len([r for r in caplog.records if "refused a record" in r.getMessage()]) == 1
    assert "2 records were refused" in caplog.text


def test_a_damaged_line_is_set_aside(tmp_path: Path) -> None:
    events = [StudyEnded(at_ms=1, state="a"), StudyEnded(at_ms=1, state="b")]
    (tmp_path / "spool.jsonl").write_bytes(encode(events[0]) + b"\x00\xff rubbish\n" + encode(events[1]))
    sink = MemorySink()
    spooled(tmp_path, sink).close()
    assert sink.events == events
    assert "rubbish" in (tmp_path / "spool.refused.jsonl").read_text()


def test_a_sink_that_cannot_be_made_at_first_is_made_later(tmp_path: Path) -> None:
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


def test_parcels_keep_the_order_and_join_only_neighbouring_epochs() -> None:
    epochs = [EpochLogged(at_ms=0, key=key, epoch=1, metrics={}) for key in "abc"]
    events: list[Event] = [*epochs[:2], StudyEnded(at_ms=0, state="x"), epochs[2]]
    lines = [SpoolLine(encode(event), end) for end, event in enumerate(events)] + [SpoolLine(b"rubbish", 999)]
    first, second, third, fourth = pack(lines)
    assert isinstance(first, Parcel)
    assert first.events == tuple(epochs[:2])
    assert first.lines == tuple(lines[:2])
    assert isinstance(second, Parcel)
    assert second.events == (StudyEnded(at_ms=0, state="x"),)
    assert isinstance(third, Parcel)
    assert third.events == (epochs[2],)
    assert isinstance(fourth, Unreadable)
    assert fourth.line == lines[-1]
