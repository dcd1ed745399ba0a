"""Spool lines that an earlier version has not sent are sent by this one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distune.records import EpochReport, Outcome, TrialState
from distune.tracking.events import EpochLogged, TrialEnded, decode, encode
from distune.tracking.mlflow_client import find_study_runs, open_client
from distune.tracking.mlflow_sink import MlflowSink
from distune.tracking.spool_tracker import SpoolTracker

OLD_LINES = [
    b'{"event": "study_started", "at_ms": 1699999999000, "params": {"search.num_trials": 8}, "tags": {}}\n',
    b'{"event": "trial_started", "at_ms": 1699999999500, "key": "7", "control": false, "seed": 3, "num_epochs": 5, '
    b'"params": {"alpha": 10.0}, "tags": {}}\n',
    b'{"event": "epoch", "at_ms": 1700000000123, "key": "7", "epoch": 2, "metrics": {"search/AP": 0.2}}\n',
    b'{"event": "trial_ended", "at_ms": 1700000000500, "key": "7", "state": "PRUNED", "outcome": "stopped", "control": '
    b'false, "epochs": 2, "seed": 3, "metrics": {"search/AP": 0.2}, "reason": null, "rung": 2, "best_at_ms": '
    b"1700000000123}\n",
    b'{"event": "trial_ended", "at_ms": 1700000000600, "key": "control-1", "state": "RUNNING", "outcome": '
    b'"interrupted", "control": true, "epochs": 0, "seed": 3, "metrics": {}, "reason": null, "rung": null, '
    b'"best_at_ms": null}\n',
    b'{"event": "study", "at_ms": 1700000000700, "metrics": {"gain/AP": 0.1}, "tags": {}}\n',
    b'{"event": "study_ended", "at_ms": 1700000000800, "state": "interrupted"}\n',
]
"""Written by the version before the events carried reports and records."""


def test_old_lines_are_read() -> None:
    events = [decode(line) for line in OLD_LINES]
    epoch, end, control = events[2], events[3], events[4]
    assert isinstance(epoch, EpochLogged)
    assert (epoch.key, epoch.at_ms) == ("7", 1_700_000_000_123)
    assert epoch.report == EpochReport(epoch=2, metrics={"search/AP": 0.2}, finished_at=1_700_000_000.123)
    assert isinstance(end, TrialEnded)
    assert (end.record.key, end.record.state, end.record.outcome) == ("7", TrialState.PRUNED, Outcome.STOPPED)
    assert (end.record.epochs, end.record.rung, end.record.best_at) == (2, 2, 1_700_000_000.123)
    assert isinstance(control, TrialEnded)
    assert (control.record.key, control.record.control, control.record.best_at) == ("control-1", True, None)
    assert [decode(encode(event)) for event in events] == events


def test_an_unknown_outcome_is_refused() -> None:
    line = {**json.loads(OLD_LINES[3]), "outcome": "no such outcome"}
    with pytest.raises(ValueError, match="no event"):
        decode(json.dumps(line).encode())


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")
def test_old_lines_that_were_not_sent_reach_mlflow(mlflow_uri: str, tmp_path: Path) -> None:
    (tmp_path / "spool.jsonl").write_bytes(b"".join(OLD_LINES))
    (tmp_path / "spool.offset").write_text(f"{len(OLD_LINES[0])}\n")
    location = (tmp_path / "artifacts").as_uri()
    SpoolTracker(
        tmp_path,
        make_sink=lambda: MlflowSink(
            mlflow_uri, study="cells", study_key="key-1", experiment="blood", artifact_location=location
        ),
    ).close()
    assert not (tmp_path / "spool.refused.jsonl").exists()
    found = find_study_runs(mlflow_uri, experiment="blood", study_key="key-1")
    assert found is not None
    assert set(found.trial_run_ids) == {"7", "control-1"}
    client = open_client(mlflow_uri)
    run_id = found.trial_run_ids["7"]
    for metric in ("search/AP", "best/AP"):
        points = client.get_metric_history(run_id, metric)
        assert [(point.step, point.value, point.timestamp) for point in points] == [(2, 0.2, 1_700_000_000_123)]
    tags = client.get_run(run_id).data.tags
    assert (tags["distune.outcome"], tags["distune.rung"]) == ("stopped", "2")
