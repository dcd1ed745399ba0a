"""Callbacks of a study."""

from __future__ import annotations

from distune.study.callback import CallbackList
from study.harness import MakeHarness, Witness


def test_a_list_forwards_each_event_to_every_callback(make_harness: MakeHarness) -> None:
    harness = make_harness(search={"num_trials": 3})
    engine = harness.engine()
    first, second = Witness(), Witness()
    engine._callback = engine._recorder._callback = CallbackList([first, second])
    harness.run(engine)
    engine._callback.on_message("hello")
    assert first.decisions
    assert len(first.ended_records) == 4
    assert first.messages[-1] == "hello"
    assert (first.decisions, first.ended_records, first.messages) == (
        second.decisions,
        second.ended_records,
        second.messages,
    )


def test_an_empty_list_does_nothing() -> None:
    CallbackList().on_message("hello")
