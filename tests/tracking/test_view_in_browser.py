"""The view of a study in the real page of MLflow, since its form is not documented."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from distune.records import EpochReport, Outcome, ParameterValue, TrialRecord, TrialState
from distune.tracking.events import (
    EpochLogged,
    Event,
    StudyStarted,
    TrialEnded,
    TrialLogged,
    TrialStarted,
    ViewLogged,
)
from distune.tracking.mlflow_sink import MlflowSink
from distune.tracking.server import start_ui, study_links
from distune.tracking.study_view import StudyView
from support.browser import open_browser

PATH = "distillation.local_knowledge.weight"
NAMES = {PATH: "local"}
COST = "student/flops"
BEST = {"0": 30.0, "1": 32.0, "2": 31.0, "control-1": 29.0, **{str(number): 20.0 - number for number in range(3, 14)}}


def trial(key: str, best: float) -> list[Event]:
    control = key.startswith("c")
    record = TrialRecord(
        number=-1 if control else int(key),
        state=TrialState.COMPLETE,
        outcome=Outcome.FINISHED,
        control=control,
        epochs=2,
        params={},
        metrics={"search/AP": best},
        seed=0,
    )
    params: dict[str, ParameterValue] = {} if control else {PATH: best / 10}
    reports = [
        EpochReport(epoch=epoch, metrics={"search/AP": best - 2 + epoch, COST: best * 1000}, finished_at=epoch)
        for epoch in (1, 2)
    ]
    return [
        TrialStarted(at_ms=1, key=key, control=control, seed=0, num_epochs=2, params=params, names=NAMES),
        *(EpochLogged(key=key, report=report) for report in reports),
        TrialEnded(at_ms=3, record=record),
        TrialLogged(at_ms=3, key=key, step=2, metrics={} if control else {"gain/AP": best - 29}, params={}),
    ]


READ_TABLE = """
const texts = (selector, root) => [...root.querySelectorAll(selector)];
const columns = {};
for (const head of texts(".ag-header-cell", document)) {
  const id = head.getAttribute("col-id"), title = head.innerText.trim();
  const cells = texts(".ag-cell", document).filter((cell) => cell.getAttribute("col-id") === id);
  const row = (cell) => Number(cell.closest("[row-index]").getAttribute("row-index"));
  columns[title] = cells.sort((a, b) => row(a) - row(b)).map((cell) => cell.innerText.trim());
}
return columns;
"""


def read_table(browser: webdriver.Chrome) -> dict[str, list[float]] | None:
    """The columns of numbers by their titles, once all runs are shown."""
    columns: dict[str, list[str]] = browser.execute_script(READ_TABLE)
    wanted = {title: columns.get(title, []) for title in ("best/AP", "gain/AP", COST, "local")}
    if any(len(cells) != len(BEST) for cells in wanted.values()):
        return None
    return {title: [float(cell) for cell in cells if cell != "-"] for title, cells in wanted.items()}


def page_text(browser: webdriver.Chrome) -> str:
    return browser.find_element(By.TAG_NAME, "body").text


@pytest.mark.server
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")
def test_the_page_opens_with_the_columns_the_order_and_the_charts_of_the_study(mlflow_uri: str, tmp_path: Path) -> None:
    view = StudyView(metric="AP", params=(PATH,), names=NAMES, costs=(COST,))
    sink = MlflowSink(mlflow_uri, study="cells", study_key="k-1", experiment="blood", artifact_location=None)
    events: list[Event] = [StudyStarted(at_ms=1, params={}, tags={}), ViewLogged(at_ms=1, view=view)]
    for event in [*events, *(each for key, best in BEST.items() for each in trial(key, best))]:
        sink.apply([event])
    with open_browser() as browser, start_ui(mlflow_uri, artifacts=tmp_path / "artifacts", port=0) as server:
        links = study_links(mlflow_uri, base_url=server.url, experiment="blood", study_key="k-1", metric="best/AP")
        wait = WebDriverWait(browser, 60)
        browser.get(links.runs)
        wait.until(lambda _: read_table(browser))
        shown = read_table(browser) or {}
        assert shown["best/AP"] == sorted(BEST.values(), reverse=True)
        assert shown["gain/AP"][:3] == [3.0, 2.0, 1.0]
        assert shown[COST][:3] == [32000.0, 31000.0, 30000.0]
        assert shown["local"][:3] == [3.2, 3.1, 3.0]

        browser.get("about:blank")
        browser.get(links.charts)
        wait.until(lambda _: re.search(r"Study\s*\(5\)", page_text(browser)))
        text = page_text(browser).partition("Study")[2]
        assert text.index("search/AP") < text.index("best/AP") < text.index(COST)
