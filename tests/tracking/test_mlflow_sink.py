"""The sink with a real SQLite store: each run and each point is stored once, under names that MLflow accepts."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED

from distune.errors import UsageError
from distune.records import EpochReport, Outcome, ParameterValue, TrialRecord, TrialState
from distune.tracking.events import (
    EpochLogged,
    Event,
    FileLogged,
    StudyDescribed,
    StudyEnded,
    StudyLogged,
    StudyStarted,
    TrialEnded,
    TrialLogged,
    TrialReplaced,
    TrialStarted,
    ViewLogged,
)
from distune.tracking.mlflow_client import find_study_runs, open_client
from distune.tracking.mlflow_sink import MlflowSink
from distune.tracking.note import NOTE_TAG
from distune.tracking.sink import EventRefusedError, SinkUnavailableError
from distune.tracking.study_view import VIEW_TAG, StudyView

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

BEGIN_MS = 1_700_000_000_000
PARAMS: dict[str, ParameterValue] = {"distillation.prototypes.alpha": 10.0, "distillation.prototypes.unique": True}


def start(key: str = "7", params: dict[str, ParameterValue] | None = None, at_ms: int = BEGIN_MS) -> TrialStarted:
    chosen = PARAMS if params is None else params
    return TrialStarted(at_ms=at_ms, key=key, control=key.startswith("c"), seed=3, num_epochs=5, params=chosen)


def epoch(number: int, key: str = "7", **metrics: float) -> EpochLogged:
    values = {"search/AP": number / 10, **{name.replace("__", "/"): value for name, value in metrics.items()}}
    return logged(number, values, key=key, at_ms=BEGIN_MS + number)


def logged(number: int, metrics: dict[str, float], *, key: str = "7", at_ms: int = BEGIN_MS) -> EpochLogged:
    return EpochLogged(key=key, report=EpochReport(epoch=number, metrics=metrics, finished_at=at_ms / 1000))


def end(key: str = "7", outcome: Outcome = Outcome.FINISHED, at_ms: int = BEGIN_MS + 100, **changes: Any) -> TrialEnded:
    values: dict[str, Any] = {
        "number": -int(key.removeprefix("control-")) if key.startswith("c") else int(key),
        "state": TrialState.COMPLETE,
        "outcome": outcome,
        "control": key.startswith("c"),
        "epochs": 3,
        "params": {},
        "seed": 3,
        "metrics": {"search/AP": 0.3, "gain/AP": 0.1, "loss/task": 2.0},
    }
    return TrialEnded(at_ms=at_ms, record=TrialRecord(**{**values, **changes}))


STUDY_START = StudyStarted(at_ms=BEGIN_MS, params={"search.num_trials": 8}, tags={"hash": "abc"})
A_STUDY: list[Event] = [
    STUDY_START,
    start("control-1", {}),
    start("7"),
    epoch(1, "control-1"),
    epoch(1),
    epoch(2),
    epoch(3),
    end("control-1", state=TrialState.COMPLETE),
    end("7", Outcome.STOPPED, state=TrialState.PRUNED),
    StudyLogged(at_ms=BEGIN_MS + 200, metrics={"best/AP": 0.3}, tags={"best_trial": "7"}),
    StudyEnded(at_ms=BEGIN_MS + 300, state="finished"),
]


class Store:
    """A store, with sinks on it."""

    def __init__(self, uri: str, folder: Path) -> None:
        self.uri = uri
        self.client = open_client(uri)
        self._artifacts = (folder / "artifacts").as_uri()

    def sink(self, study_key: str = "key-1", experiment: str = "blood", *, simulated: bool = False) -> MlflowSink:
        return MlflowSink(
            self.uri,
            study="cells",
            study_key=study_key,
            experiment=experiment,
            artifact_location=self._artifacts,
            simulated=simulated,
        )

    def runs(self, experiment: str = "blood") -> list[Any]:
        found = self.client.get_experiment_by_name(experiment)
        assert found is not None
        return list(self.client.search_runs([found.experiment_id], order_by=["attributes.start_time ASC"]))

    def run(self, name: str) -> Any:
        """The run of that name; of a trial, the number is enough, as in ``t007``."""
        (run,) = [run for run in self.runs() if name in (run.info.run_name, run.info.run_name.partition(" ")[0])]
        return run

    def run_of_study(self, study_key: str) -> Any:
        """The parent run of a study."""
        return next(
            run
            for run in self.runs()
            if run.data.tags["distune.study_key"] == study_key and "distune.trial" not in run.data.tags
        )

    def note(self) -> str:
        """The note of the experiment."""
        found = self.client.get_experiment_by_name("blood")
        assert found is not None
        return str(found.tags[NOTE_TAG])

    def points(self, name: str, metric: str) -> list[tuple[int, float, int]]:
        history = self.client.get_metric_history(self.run(name).info.run_id, metric)
        return [(point.step, point.value, point.timestamp) for point in history]


@pytest.fixture
def store(mlflow_uri: str, tmp_path: Path) -> Store:
    return Store(mlflow_uri, tmp_path)


def apply_each(sink: MlflowSink, events: list[Event]) -> None:
    for event in events:
        sink.apply([event])


def test_tags_cannot_replace_those_that_a_run_is_found_by(store: Store) -> None:
    """Once, the second session replaced the tag that the parent is found by, and the third made another parent."""
    begin = StudyStarted(at_ms=BEGIN_MS, params={}, tags={"study_key": "another", "trial_key": "x", "study": "y"})
    for _ in range(3):
        store.sink().apply([begin])
    assert len(store.runs()) == 1
    assert store.run("cells").data.tags["distune.study_key"] == "key-1"


@pytest.mark.parametrize("simulated", [True, False])
def test_every_run_of_a_simulated_study_has_a_tag_that_says_so(store: Store, *, simulated: bool) -> None:
    apply_each(store.sink(simulated=simulated), A_STUDY)
    assert all(run.data.tags.get("distune.simulated") == ("true" if simulated else None) for run in store.runs())


def test_a_study_becomes_a_parent_and_nested_children(store: Store) -> None:
    apply_each(store.sink(), A_STUDY)
    parent, control, trial = store.run("cells"), store.run("control 1"), store.run("t007")
    assert len(store.runs()) == 3
    for child in (control, trial):
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert "mlflow.parentRunId" not in parent.data.tags
    assert parent.data.params == {"search.num_trials": "8"}
    assert trial.data.params == {"distillation.prototypes.alpha": "10.0", "distillation.prototypes.unique": "true"}
    assert control.data.params == {}
    assert (parent.info.start_time, parent.info.end_time) == (BEGIN_MS, BEGIN_MS + 300)
    assert (trial.info.start_time, trial.info.end_time) == (BEGIN_MS, BEGIN_MS + 100)


def test_run_names_show_the_params(store: Store) -> None:
    apply_each(store.sink(), A_STUDY)
    names = [run.info.run_name for run in store.runs()]
    assert sorted(names) == ["cells", "control 1", "t007 alpha=10 unique=true"]


def test_a_run_renamed_in_the_ui_keeps_its_name(store: Store) -> None:
    apply_each(store.sink(), A_STUDY[:3])
    store.client.update_run(store.run("t007").info.run_id, name="the odd one")
    apply_each(store.sink(), A_STUDY[2:])
    assert store.run("the odd one").data.tags["distune.trial"] == "7"


def test_points_keep_their_epoch_and_their_time(store: Store) -> None:
    apply_each(store.sink(), A_STUDY)
    assert store.points("t007", "search/AP") == [(n, n / 10, BEGIN_MS + n) for n in (1, 2, 3)]
    assert store.points("control 1", "search/AP") == [(1, 0.1, BEGIN_MS + 1)]
    assert store.points("t007", "best/AP") == [(3, 0.3, BEGIN_MS + 100)]
    assert store.points("t007", "gain/AP") == [(3, 0.1, BEGIN_MS + 100)]
    assert "loss/task" not in store.run("t007").data.metrics
    assert store.points("cells", "best/AP") == [(0, 0.3, BEGIN_MS + 200)]


def test_tags_show_the_state_of_each_run(store: Store) -> None:
    apply_each(
        store.sink(),
        [*A_STUDY[:3], end(outcome=Outcome.DIVERGED, state=TrialState.PRUNED, reason="loss is NaN", rung=2)],
    )
    tags = store.run("t007").data.tags
    expected = {
        "distune.study": "cells",
        "distune.trial": "7",
        "distune.trial_key": "key-1/7",
        "distune.state": "PRUNED",
        "distune.outcome": "diverged",
        "distune.control": "false",
        "distune.seed": "3",
        "distune.epochs": "3",
        "distune.rung": "2",
        "distune.reason": "loss is NaN",
    }
    assert expected.items() <= tags.items()
    assert store.run("control 1").data.tags["distune.control"] == "true"
    assert store.run("control 1").data.tags["distune.outcome"] == "running"
    assert store.run("cells").data.tags["distune.hash"] == "abc"


def test_events_sent_twice_are_stored_once(store: Store) -> None:
    apply_each(store.sink(), A_STUDY)
    before = [(run.info.run_id, run.data.to_dictionary()) for run in store.runs()]
    again = store.sink()
    apply_each(again, A_STUDY)
    apply_each(again, A_STUDY[3:])
    assert [(run.info.run_id, run.data.to_dictionary()) for run in store.runs()] == before
    assert len(store.points("t007", "search/AP")) == 3
    assert len(store.points("t007", "best/AP")) == 1
    assert len(store.points("cells", "best/AP")) == 1


def test_a_batch_that_was_partly_stored_is_completed(store: Store) -> None:
    sink = store.sink()
    apply_each(sink, [STUDY_START, start(), epoch(1, loss__task=math.nan), epoch(3)])
    sink.apply([epoch(number, loss__task=math.nan) for number in (1, 2, 3)])
    assert sorted(step for step, _, _ in store.points("t007", "search/AP")) == [1, 2, 3]
    assert sorted(step for step, _, _ in store.points("t007", "loss/task")) == [1, 2, 3]


def test_epochs_of_several_trials_in_one_call(store: Store) -> None:
    sink = store.sink()
    apply_each(sink, [STUDY_START, start("7"), start("8")])
    sink.apply([epoch(1, "7"), epoch(1, "8"), epoch(2, "7"), epoch(2, "8")])
    for name in ("t007", "t008"):
        assert [step for step, _, _ in store.points(name, "search/AP")] == [1, 2]


def test_more_points_than_fit_into_one_call(store: Store) -> None:
    sink = store.sink()
    metrics = {f"AP[class {number}]": 0.5 for number in range(650)}
    sink.apply([logged(number, metrics) for number in (1, 2)])
    params: dict[str, ParameterValue] = {f"p{number}": number for number in range(230)}
    apply_each(sink, [start(params=params), end(metrics=metrics)])
    run = store.run("t007")
    assert len(run.data.metrics) == 1300
    assert len(run.data.params) == 230
    assert len(store.points("t007", "AP_class 649")) == 2


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome.FINISHED, "FINISHED"),
        (Outcome.STOPPED, "FINISHED"),
        (Outcome.FAILED, "FAILED"),
        (Outcome.DIVERGED, "FAILED"),
        (Outcome.INTERRUPTED, "KILLED"),
    ],
)
def test_a_run_ends_with_its_status_and_runs_again_when_resumed(store: Store, outcome: Outcome, status: str) -> None:
    apply_each(store.sink(), [STUDY_START, start(), epoch(1), end(outcome=outcome)])
    assert store.run("t007").info.status == status
    resumed = store.sink()
    apply_each(resumed, [STUDY_START, start(at_ms=BEGIN_MS + 500), epoch(2)])
    assert store.run("t007").info.status == "RUNNING"
    assert store.run("t007").data.tags["distune.outcome"] == "running"
    apply_each(resumed, [end(at_ms=BEGIN_MS + 900, epochs=5, metrics={"search/AP": 0.4})])
    assert store.run("t007").info.status == "FINISHED"
    assert store.run("t007").info.end_time == BEGIN_MS + 900
    assert store.run("t007").data.metrics["best/AP"] == 0.4
    assert len(store.runs()) == 2


def test_a_run_that_is_tried_again_keeps_no_reason_and_no_warnings_of_its_failure(store: Store) -> None:
    sink = store.sink()
    failure = end(outcome=Outcome.FAILED, state=TrialState.FAIL, reason="no memory", warnings={"share": "too low"})
    apply_each(sink, [STUDY_START, start(), failure])
    tags = store.run("t007").data.tags
    assert (tags["distune.reason"], tags["distune.warnings"]) == ("no memory", "too low")
    apply_each(sink, [start(at_ms=BEGIN_MS + 500), end(at_ms=BEGIN_MS + 900)])
    tags = store.run("t007").data.tags
    assert tags["distune.outcome"] == "finished"
    assert (tags["distune.reason"], tags["distune.warnings"]) == ("", "")


def test_the_summary_of_a_trial_is_stored_once_when_its_end_is_sent_again(store: Store) -> None:
    """It was interrupted, then cut off between its end here and its end in Optuna, with other times for both."""
    sink = store.sink()
    apply_each(
        sink,
        [start(), end(outcome=Outcome.INTERRUPTED, state=TrialState.RUNNING, epochs=2, best_at=(BEGIN_MS + 2) / 1000)],
    )
    assert "best/AP" not in store.run("t007").data.metrics
    for later in (1000, 2000):
        again = start(at_ms=BEGIN_MS + later)
        apply_each(sink, [again, end(at_ms=BEGIN_MS + later + 100, best_at=(BEGIN_MS + 3) / 1000)])
    assert store.points("t007", "best/AP") == [(3, 0.3, BEGIN_MS + 3)]
    assert store.points("t007", "gain/AP") == [(3, 0.1, BEGIN_MS + 3)]


@pytest.mark.parametrize(
    ("state", "status"), [("finished", "FINISHED"), ("interrupted", "KILLED"), ("failed", "FAILED")]
)
def test_the_study_ends_with_its_status_and_runs_again_when_resumed(store: Store, state: str, status: str) -> None:
    sink = store.sink()
    apply_each(sink, [STUDY_START, StudyEnded(at_ms=BEGIN_MS + 5, state=state)])
    assert (store.run("cells").info.status, store.run("cells").data.tags["distune.state"]) == (status, state)
    sink.apply([STUDY_START])
    assert (store.run("cells").info.status, store.run("cells").data.tags["distune.state"]) == ("RUNNING", "running")


def test_params_are_logged_once_and_missing_ones_are_added(store: Store) -> None:
    apply_each(store.sink(), [STUDY_START, start(params={"a": 1})])
    later = store.sink()
    apply_each(later, [start(params={"a": 2, "b": 3}), start(params={"a": 2, "b": 4, "c": 5})])
    assert store.run("t007").data.params == {"a": "1", "b": "3", "c": "5"}


def test_unusual_names_and_values_are_stored(store: Store) -> None:
    metrics = {"AP[person]": 0.1, "a//b": 0.2, "/../x": 0.3, "y" * 300: 0.4, "größe": 0.5, "nan": math.nan}
    metrics |= {"inf": math.inf, "-inf": -math.inf, "": 0.6}
    event = logged(1, metrics)
    sink = store.sink()
    sink.apply([event])
    sink.apply([event])
    stored = store.run("t007").data.metrics
    assert len(stored) == len(metrics)
    assert stored["AP_person"] == 0.1
    assert stored["größe"] == 0.5
    for name in ("nan", "inf", "-inf"):
        assert math.isnan(stored[name])
        assert len(store.points("t007", name)) == 1
    sink.apply([start(params={"odd[key]": "v" * 9000})])
    sink.apply([end(reason="r" * 20_000, outcome=Outcome.FAILED)])
    assert len(store.run("t007").data.tags["distune.reason"]) == 5000


def test_a_trial_without_a_start_event_gets_a_run(store: Store) -> None:
    store.sink().apply([epoch(1)])
    assert store.run("t007").data.tags["mlflow.parentRunId"] == store.run("cells").info.run_id


def test_studies_of_the_same_name_are_distinguished_by_their_key(store: Store) -> None:
    apply_each(store.sink("key-1"), [STUDY_START, start(), epoch(1)])
    apply_each(store.sink("key-2"), [STUDY_START, start(), epoch(1)])
    assert len(store.runs()) == 4
    parents = {run.info.run_id for run in store.runs() if run.info.run_name == "cells"}
    assert {run.data.tags.get("mlflow.parentRunId") for run in store.runs()} == {*parents, None}


def test_a_run_deleted_in_the_ui_is_created_again(store: Store) -> None:
    sink = store.sink()
    apply_each(sink, [STUDY_START, start(), epoch(1)])
    store.client.delete_run(store.run("t007").info.run_id)
    sink.apply([epoch(2)])
    assert [step for step, _, _ in store.points("t007", "search/AP")] == [2]


CONFIRM = "confirm-7-seed-1000"
TRAINED_AGAIN: list[Event] = [
    start(CONFIRM),
    logged(1, {"search/AP": 0.1}, key=CONFIRM, at_ms=BEGIN_MS + 1),
    logged(2, {"search/AP": 0.2}, key=CONFIRM, at_ms=BEGIN_MS + 2),
    end(label=CONFIRM, key="7"),
    TrialReplaced(at_ms=BEGIN_MS + 1000, key=CONFIRM),
    start(CONFIRM, at_ms=BEGIN_MS + 1001),
    logged(1, {"search/AP": 0.8}, key=CONFIRM, at_ms=BEGIN_MS + 1002),
    logged(2, {"search/AP": 0.9}, key=CONFIRM, at_ms=BEGIN_MS + 1003),
    end(label=CONFIRM, key="7", at_ms=BEGIN_MS + 1100),
]


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("in_one_session", [True, False])
def test_a_trial_that_is_trained_anew_gets_a_run_of_its_own(store: Store, *, times: int, in_one_session: bool) -> None:
    """``distune repair`` sends everything again: no former epoch may reach the new run."""
    sink = store.sink()
    for event in TRAINED_AGAIN * times:
        (sink if in_one_session else store.sink()).apply([event])
    name = "confirm 7 seed 1000"
    assert [run.info.run_name for run in store.runs() if "distune.trial" in run.data.tags] == [
        f"{name} (replaced)",
        name,
    ]
    assert [value for _, value, _ in store.points(name, "search/AP")] == [0.8, 0.9]
    assert [value for _, value, _ in store.points(f"{name} (replaced)", "search/AP")] == [0.1, 0.2]
    assert store.run(f"{name} (replaced)").data.tags["distune.kind"] == "replaced"
    assert store.run(name).data.tags["distune.kind"] == "search"


def test_an_epoch_of_a_worker_whose_clock_is_late_belongs_to_the_new_run(store: Store) -> None:
    late = logged(1, {"search/AP": 0.8}, key=CONFIRM, at_ms=BEGIN_MS + 500)
    apply_each(store.sink(), [*TRAINED_AGAIN[:6], late])
    assert [value for _, value, _ in store.points("confirm 7 seed 1000", "search/AP")] == [0.8]


def test_a_trial_without_a_former_run_replaces_none(store: Store) -> None:
    apply_each(store.sink(), [TrialReplaced(at_ms=BEGIN_MS, key="7"), *A_STUDY])
    assert [run.info.run_name for run in store.runs() if "replaced" in run.info.run_name] == []
    assert store.points("t007", "search/AP") == [(n, n / 10, BEGIN_MS + n) for n in (1, 2, 3)]


def test_an_experiment_deleted_in_the_ui_is_restored(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store.sink().apply([STUDY_START])
    experiment = store.client.get_experiment_by_name("blood")
    assert experiment is not None
    store.client.delete_experiment(experiment.experiment_id)
    store.sink("key-2").apply([STUDY_START])
    assert "restored" in caplog.text
    assert len(store.runs()) == 2


def test_two_studies_may_create_the_experiment_at_the_same_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.sink("key-1").apply([STUDY_START])
    sink = store.sink("key-2")
    find = sink._client.get_experiment_by_name
    answers = iter([None])
    monkeypatch.setattr(sink._client, "get_experiment_by_name", lambda name: next(answers, find(name)))
    sink.apply([STUDY_START])
    assert len(store.runs()) == 2


def test_files_and_folders_become_artifacts(store: Store, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"a")
    (tmp_path / "report.html").write_text("report")
    sink = store.sink()
    pictures, report = str(tmp_path / "pictures"), str(tmp_path / "report.html")
    apply_each(
        sink,
        [
            STUDY_START,
            start(),
            FileLogged(at_ms=BEGIN_MS, key="7", path=pictures, folder="../detections/"),
            FileLogged(at_ms=BEGIN_MS, key=None, path=report, folder=""),
            FileLogged(at_ms=BEGIN_MS, key=None, path=report, folder=""),
        ],
    )
    trial_id, study_id = store.run("t007").info.run_id, store.run("cells").info.run_id
    assert (tmp_path / "artifacts" / trial_id / "artifacts" / "detections" / "a.png").read_bytes() == b"a"
    assert [file.path for file in store.client.list_artifacts(study_id)] == ["report.html"]


def test_a_missing_file_is_skipped(store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store.sink().apply([FileLogged(at_ms=BEGIN_MS, key="7", path=str(tmp_path / "gone.png"), folder="")])
    assert "gone.png is missing" in caplog.text


def test_an_event_that_mlflow_refuses_is_not_an_outage(store: Store) -> None:
    sink = store.sink()
    with pytest.raises(EventRefusedError, match="Timestamp"):
        sink.apply([logged(1, {"AP": 0.5}, at_ms=-5)])
    sink.apply([epoch(1)])
    assert len(store.points("t007", "search/AP")) == 1


def test_an_unknown_error_is_an_outage_only_if_the_store_does_not_answer(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = store.sink()

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(sink._client, "log_batch", fail)
    with pytest.raises(ZeroDivisionError):
        sink.apply([epoch(1)])
    monkeypatch.setattr(sink._client, "search_experiments", fail)
    with pytest.raises(SinkUnavailableError):
        sink.apply([epoch(1)])


def test_an_unreachable_server_is_an_outage_and_its_password_is_not_shown() -> None:
    sink = MlflowSink(
        "http://ann:secret@127.0.0.1:9", study="cells", study_key="k", experiment="e", artifact_location=None
    )
    with pytest.raises(SinkUnavailableError) as caught:
        sink.apply([STUDY_START])
    assert "secret" not in str(caught.value)


def test_a_database_that_cannot_be_opened_is_an_outage(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'missing' / 'mlflow.db'}"
    with pytest.raises(SinkUnavailableError, match="unable to open"):
        MlflowSink(uri, study="cells", study_key="k", experiment="e", artifact_location=None)


def test_the_global_state_of_mlflow_does_not_change(store: Store) -> None:
    import mlflow

    before = mlflow.get_tracking_uri()
    apply_each(store.sink(), A_STUDY)
    assert mlflow.get_tracking_uri() == before
    assert mlflow.active_run() is None


def test_the_runs_of_a_study_are_found(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_study_runs(store.uri, experiment="blood", study_key="key-1") is None
    apply_each(store.sink("key-0"), A_STUDY)
    apply_each(store.sink("key-1"), A_STUDY)
    confirmed = dataclasses.replace(start("7"), key="confirm-7-seed-1000", tags={"kind": "confirmation"})
    ablated = dataclasses.replace(start("7"), key="ablate-7-without-pkd-seed-1000", tags={"kind": "ablation"})
    store.sink("key-1").apply([confirmed, ablated])
    found = find_study_runs(store.uri, experiment="blood", study_key="key-1")
    assert found is not None
    assert set(found.trial_run_ids) == {"control-1", "7"}
    assert re.fullmatch("[0-9a-f]{32}", found.study_run_id or "")
    assert found.study_run_id not in found.trial_run_ids.values()
    monkeypatch.setattr("distune.tracking.mlflow_client._RUNS_PER_PAGE", 1)
    assert find_study_runs(store.uri, experiment="blood", study_key="key-1") == found
    with pytest.raises(UsageError, match="does not answer") as caught:
        find_study_runs("http://ann:secret@127.0.0.1:9", experiment="blood", study_key="key-1")
    assert "secret" not in str(caught.value)


VIEW = StudyView(metric="AP", params=tuple(PARAMS), names={"distillation.prototypes.alpha": "alpha"})


def described(headline: str, note: str = "a note") -> StudyDescribed:
    return StudyDescribed(at_ms=BEGIN_MS, headline=headline, note=note)


def test_params_have_their_short_names_as_well(store: Store) -> None:
    named = dataclasses.replace(start("7"), names={"distillation.prototypes.alpha": "a"})
    store.sink().apply([named])
    assert store.run("t007").data.params == {
        "distillation.prototypes.alpha": "10.0",
        "distillation.prototypes.unique": "true",
        "a": "10.0",
    }
    assert store.run("t007").info.run_name == "t007 a=10 unique=true"
    store.sink().apply([dataclasses.replace(named, names={"distillation.prototypes.alpha": "b"}, params={"c.d": 1})])
    assert store.run("t007").data.params["a"] == "10.0"


def test_control_and_study_have_colors_of_their_own_and_keep_those_of_the_user(store: Store) -> None:
    apply_each(store.sink(), A_STUDY)
    color = "mlflow.runColor"
    colors = {name: store.run(name).data.tags.get(color) for name in ("cells", "control 1", "t007")}
    assert colors["t007"] is None
    assert None not in (colors["cells"], colors["control 1"])
    store.client.set_tag(store.run("control 1").info.run_id, color, "#123456")
    apply_each(store.sink(), A_STUDY)
    assert store.run("control 1").data.tags[color] == "#123456"


def test_figures_of_a_trial_are_replaced_and_equal_ones_are_not_logged_again(store: Store) -> None:
    apply_each(store.sink(), A_STUDY)
    for at_ms, gain in ((1, 0.5), (2, 0.5), (3, 0.25), (4, 0.25)):
        event = TrialLogged(
            at_ms=BEGIN_MS + at_ms, key="7", step=3, metrics={"gain/AP50": gain}, params={"alpha": 10.0}
        )
        store.sink().apply([event])
    assert store.run("t007").data.metrics["gain/AP50"] == 0.25
    assert [point[1] for point in store.points("t007", "gain/AP50")] == [0.5, 0.25]
    assert store.run("t007").data.params["alpha"] == "10.0"


def test_the_experiment_has_a_view_for_each_study(store: Store) -> None:
    for key in ("key-1", "key-2"):
        store.sink(key).apply([STUDY_START])
        store.sink(key).apply([ViewLogged(at_ms=BEGIN_MS, view=VIEW)])
    found = store.client.get_experiment_by_name("blood")
    assert found is not None
    assert {f"{VIEW_TAG}{key}" for key in ("key-1", "key-2")} <= set(found.tags)
    runs = find_study_runs(store.uri, experiment="blood", study_key="key-1")
    assert runs is not None
    assert runs.has_view
    other = find_study_runs(store.uri, experiment="blood", study_key="key-3")
    assert other is not None
    assert not other.has_view


def test_an_experiment_lists_its_studies_and_a_note_of_a_user_stays(store: Store) -> None:
    first, second = store.sink("key-1"), store.sink("key-2")
    for sink in (first, second):
        sink.apply([STUDY_START])
    first.apply([described("gain +1.0 AP [+0.5, +1.5]", "**gain**")])
    assert store.run_of_study("key-1").data.tags[NOTE_TAG].startswith("**gain**")
    second.apply([described("no gain")])
    assert sorted(store.note().splitlines()[:2]) == [
        r"- **cells**: gain +1.0 AP \[+0.5, +1.5\]",
        "- **cells**: no gain",
    ]
    found = store.client.get_experiment_by_name("blood")
    assert found is not None
    store.client.set_experiment_tag(found.experiment_id, NOTE_TAG, "mine")
    store.client.set_tag(store.run_of_study("key-1").info.run_id, NOTE_TAG, "mine")
    store.sink("key-1").apply([described("worse")])
    assert (store.note(), store.run_of_study("key-1").data.tags[NOTE_TAG]) == ("mine", "mine")
    assert store.run_of_study("key-1").data.tags["distune.headline"] == "worse"


@pytest.mark.parametrize("error", [MlflowException("denied", error_code=PERMISSION_DENIED), RuntimeError("unknown")])
def test_a_server_that_refuses_tags_of_experiments_gets_all_the_rest(
    store: Store, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr("mlflow.MlflowClient.set_experiment_tag", refuse)
    apply_each(store.sink(), [*A_STUDY, ViewLogged(at_ms=BEGIN_MS, view=VIEW), described("a gain")])
    assert store.run("cells").data.tags["distune.headline"] == "a gain"
    assert store.run("cells").data.tags[NOTE_TAG]
