"""The MLflow UI: its links, and one real server."""

from __future__ import annotations

import dataclasses
import json
import math
import socket
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from distune.errors import DistuneError, UsageError
from distune.records import EpochReport
from distune.tracking.events import EpochLogged, StudyEnded, StudyStarted, TrialReplaced, TrialStarted
from distune.tracking.links import StudyRuns, links_to
from distune.tracking.mlflow_sink import MlflowSink
from distune.tracking.server import start_ui, study_links, ui_address

RUNS = StudyRuns(experiment_id="3", study_run_id="aa", trial_run_ids={"control-1": "bb", "0": "cc"})


def test_links_show_one_study() -> None:
    links = links_to("http://localhost:5000/", RUNS, study_key="blood-1", metric="search/AP")
    assert links.compare == (
        "http://localhost:5000/#/compare-runs?runs=%5B%22bb%22%2C%22cc%22%5D&experiments=%5B%223%22%5D"
        "&workflowType=machine_learning"
    )
    page, _, query = links.runs.partition("?")
    assert page == "http://localhost:5000/#/experiments/3/runs"
    assert urllib.parse.parse_qs(query) == {
        "searchFilter": ["tags.`distune.study_key` = 'blood-1' AND tags.`distune.kind` = 'search'"],
        "orderByKey": ["metrics.`search/AP`"],
        "orderByAsc": ["false"],
        "workflowType": ["machine_learning"],
        "compareRunsMode": ["TABLE"],
    }
    assert links.charts == links.runs.replace("TABLE", "CHART")
    assert links.study == "http://localhost:5000/#/experiments/3/runs/aa?workflowType=machine_learning"


def test_links_open_the_view_of_the_study_where_the_experiment_has_it() -> None:
    """Beside a search in the address, MLflow ignores the view."""
    runs = dataclasses.replace(RUNS, has_view=True)
    links = links_to("http://localhost:5000/", runs, study_key="blood-1", metric="search/AP")
    assert urllib.parse.parse_qs(links.charts.partition("?")[2]) == {
        "viewStateShareKey": ["blood-1"],
        "workflowType": ["machine_learning"],
        "compareRunsMode": ["CHART"],
    }


def test_the_ui_of_a_server_is_the_server() -> None:
    assert ui_address("https://ann:secret@host:8000/mlflow/") == "https://host:8000/mlflow"
    assert ui_address("sqlite:///a.db", port=5001) == "http://127.0.0.1:5001"
    assert ui_address("sqlite:///a.db", host="0.0.0.0", port=5001) == "http://127.0.0.1:5001"
    assert ui_address("sqlite:///a.db", host="::1", port=5001) == "http://[::1]:5001"


def test_no_ui_is_started_for_a_server(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="its own UI"):
        start_ui("http://host:5000", artifacts=tmp_path)


def test_a_port_in_use_is_a_usage_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"127.0.0.1:{port}.*another port"):
            start_ui("sqlite:///a.db", artifacts=tmp_path, port=port)


def ask(url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=20) as response:
        content = response.read().decode()
    return json.loads(content) if content.startswith("{") else content


@pytest.mark.server
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")
def test_a_study_is_logged_and_shown_through_a_server(
    mlflow_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with start_ui(mlflow_uri, artifacts=tmp_path / "artifacts", port=0) as server:
        assert "<title>MLflow</title>" in ask(server.url)
        sink = MlflowSink(server.url, study="cells", study_key="k-1", experiment="blood", artifact_location=None)
        started = TrialStarted(at_ms=1, key="0", control=False, seed=0, num_epochs=2, params={"alpha": 0.5})
        epochs = [EpochReport(epoch=n, metrics={"AP": 0.1 * n, "nan": math.nan}, finished_at=n) for n in (1, 2)]
        for _ in range(2):
            sink.apply([StudyStarted(at_ms=1, params={}, tags={})])
            sink.apply([started])
            sink.apply([EpochLogged(key="0", report=report) for report in epochs])
            sink.apply([StudyEnded(at_ms=3, state="finished")])
        links = study_links(server.url, base_url=server.url, experiment="blood", study_key="k-1", metric="AP")
        query = urllib.parse.parse_qs(links.runs.partition("?")[2])
        experiment_id = links.runs.split("/experiments/")[1].split("/")[0]
        body = {"experiment_ids": [experiment_id], "filter": query["searchFilter"][0]}
        runs = ask(f"{server.url}/api/2.0/mlflow/runs/search", body)["runs"]
        assert sorted(run["info"]["run_name"] for run in runs) == ["t000 alpha=0.5"]
        assert links.compare is not None
        (run_id,) = json.loads(urllib.parse.parse_qs(links.compare.partition("?")[2])["runs"][0])
        for metric in ("AP", "nan"):
            address = f"{server.url}/api/2.0/mlflow/metrics/get-history?run_id={run_id}&metric_key={metric}"
            assert [point["step"] for point in ask(address)["metrics"]] == [1, 2]
        same = study_links(mlflow_uri, base_url=server.url, experiment="blood", study_key="k-1", metric="AP")
        assert same == links
        with pytest.raises(UsageError, match="has no experiment other"):
            study_links(mlflow_uri, base_url=server.url, experiment="other", study_key="k-1", metric="AP")
        for event in (TrialReplaced(at_ms=10, key="0"), dataclasses.replace(started, at_ms=11)):
            sink.apply([event])
        runs = ask(f"{server.url}/api/2.0/mlflow/runs/search", {"experiment_ids": [experiment_id]})["runs"]
        assert sorted(run["info"]["run_name"] for run in runs if "params" in run["data"]) == [
            "t000 alpha=0.5",
            "t000 alpha=0.5 (replaced)",
        ]
    assert server.process.poll() is not None
    with pytest.raises(OSError, match="refused"):
        ask(server.url)
    assert capfd.readouterr().out == ""


@pytest.mark.server
def test_a_server_that_cannot_start_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_text("no database, and long enough to be read")
    with pytest.raises(DistuneError, match=r"(?s)exited with status.*not a database"):
        start_ui(f"sqlite:///{tmp_path / 'a.db'}", artifacts=tmp_path, port=0)


def test_no_link_grows_with_the_study() -> None:
    runs = StudyRuns(
        experiment_id="7",
        study_run_id="p",
        trial_run_ids={str(index): 32 * "a" for index in range(2001)},
        has_view=True,
    )
    links = links_to("http://127.0.0.1:5000", runs, study_key="small-1", metric="search/AP")
    assert links.compare is None
    assert max(len(link) for link in (links.runs, links.charts, links.study or "")) < 300
