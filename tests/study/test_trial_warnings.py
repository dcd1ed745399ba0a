"""Warnings about the distillation of a trial: told once, kept in its record and as a tag, shown in few lines."""

from __future__ import annotations

import pytest

from distune.records import EpochReport, Outcome, TrialRecord, TrialState
from distune.reports.epoch_table import epoch_rows
from distune.reports.warnings_text import warning_lines
from distune.study.runners import simulation
from distune.tracking.values import end_tags
from study.harness import METRIC, MakeHarness

KIND = "share_asked/global_knowledge"
SHARES = {KIND: 0.3, "share/global_knowledge": 0.01, "gradient_cosine/global_knowledge": -0.25, "gradient/clipped": 0.4}
TEXT = "global_knowledge had 0.01 of the task's gradient in epoch 2 instead of 0.3"


@pytest.fixture
def _undelivered(monkeypatch: pytest.MonkeyPatch) -> None:
    simulated = simulation.simulated_metrics
    monkeypatch.setattr(
        simulation, "simulated_metrics", lambda spec, epoch: simulated(spec, epoch) | ({} if spec.control else SHARES)
    )


@pytest.mark.usefixtures("_undelivered")
def test_a_session_tells_each_warning_once_and_a_later_one_not_again(make_harness: MakeHarness) -> None:
    harness = make_harness(search={"num_trials": 2, "scheduler": {"kind": "none"}})
    harness.run(stop_after_epochs=harness.loaded.experiment.training.epochs + 2)
    told = [text for text in harness.witness.messages if text.startswith("warning: trial 0:")]
    assert len(told) == 1
    assert TEXT in told[0]
    harness.run()
    assert sorted(text.split(":")[1] for text in harness.witness.messages if "instead of" in text) == [
        " trial 0",
        " trial 1",
    ]
    last = {record.key: record for record in harness.witness.records}
    assert {key: set(record.warnings) for key, record in last.items()} == {"control-1": set(), "0": {KIND}, "1": {KIND}}
    assert TEXT in end_tags(last["0"])["warnings"]
    assert end_tags(last["control-1"])["warnings"] == ""
    assert TrialRecord.from_dict(last["0"].to_dict()) == last["0"]


def test_a_kind_of_many_trials_is_one_line() -> None:
    trials = [
        TrialRecord(
            number=number,
            state=TrialState.COMPLETE,
            outcome=Outcome.FINISHED,
            control=False,
            epochs=3,
            params={},
            metrics={},
            seed=0,
            warnings={"a": f"text {number}"} if number else {},
        )
        for number in range(13)
    ]
    assert warning_lines(trials) == ["trial 1: text 1 (likewise trials 2, 3, 4, 5, 6, 7, 8, 9 and 3 more)"]
    assert warning_lines(trials[:3]) == ["trial 1: text 1 (likewise trial 2)"]
    assert warning_lines(trials[:2]) == ["trial 1: text 1"]


def test_terms_without_a_share_and_epochs_without_a_term() -> None:
    reports = [
        EpochReport(epoch=1, metrics={METRIC: 1.0}, finished_at=0.0),
        EpochReport(epoch=2, metrics={METRIC: 2.0, "share/cwd": 593.0, "gradient_cosine/cwd": 0.004}, finished_at=1.0),
    ]
    header, rows = epoch_rows(reports, METRIC)
    assert header == ["epoch", METRIC, "cwd"]
    assert rows == [["1", "1.0", ""], ["2", "2.0", "593; +0.00"]]
