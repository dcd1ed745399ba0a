"""The report of a study in Python: when it is written, what it has, and that it never ends a study."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import distune
from api.test_study import UNTRACKED, Recorder
from distune.api.report_study import write_report
from distune.errors import UsageError
from distune.study.failures.reasons import StudyFailedError
from support.experiments import small_values

pytestmark = pytest.mark.usefixtures("written_pages")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DISTUNE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def launch(**arguments: Any) -> distune.Study:
    options: dict[str, Any] = {"name": "one", "runner": "local", "simulate": True, "callbacks": []}
    return distune.launch(small_values(UNTRACKED), **options | arguments)


def report_of(study: distune.Study) -> str:
    return (study.path / "report" / "report.html").read_text(encoding="utf-8")


def test_launch_and_confirm_write_it() -> None:
    recorder = Recorder()
    study = launch(overrides={"search.num_trials": 6}, callbacks=[recorder])
    html = report_of(study)
    assert "study one (simulated)" in html
    assert "in the search, not confirmed: one seed." in html
    assert f"report: {study.path / 'report' / 'report.html'}" in recorder.messages
    result = study.confirm(top=1, seeds=3, callbacks=[])
    assert result is not None
    confirmed = report_of(study)
    assert "not confirmed" not in confirmed
    assert f"{result.summary[1:]}." in confirmed
    assert "measured on the test split" in confirmed
    assert "distune confirm one --top 1 --seeds 3" in confirmed
    assert "1000, 1001, 1002" in confirmed


def test_it_is_an_artifact_of_the_study(home: Path) -> None:
    study = distune.launch(
        small_values({"search": {"num_trials": 1, "controls": 0}}),
        name="tracked",
        runner="local",
        simulate=True,
        callbacks=[],
    )
    kept = list((home / "artifacts").rglob("report/report.html"))
    assert [file.read_bytes() for file in kept] == [(study.path / "report" / "report.html").read_bytes()]


def test_a_failure_to_write_it_ends_no_study(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> str:
        raise RuntimeError("no\nluck")

    monkeypatch.setattr("distune.reports.page.render_page.render_page", fail)
    recorder = Recorder()
    study = launch(callbacks=[recorder])
    assert study.state == "finished"
    assert "report: the page cannot be written: no luck; try again: distune report one" in recorder.messages
    assert study.confirm(top=1, seeds=2, callbacks=[]) is not None


def test_a_study_that_failed_has_one_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> object:
        raise RuntimeError("<script>boom</script> at http://me:secret@host/x")

    monkeypatch.setattr("distune.study.runners.simulation.SimulatedTrial.run_epoch", fail)
    with pytest.raises(StudyFailedError):
        launch(overrides={"search.num_trials": 2})
    html = report_of(distune.load_study("one"))
    assert "The study failed: " in html
    assert "&lt;script&gt;boom" in html
    assert "<script>boom" not in html
    assert "secret" not in html


def test_it_goes_to_any_file_and_loads_nothing(tmp_path: Path) -> None:
    study = launch()
    file = study.report(tmp_path / "deep" / "mine.html", callbacks=[])
    assert file == tmp_path / "deep" / "mine.html"
    html = file.read_text(encoding="utf-8")
    assert not re.findall(r"""<[^>]*\b(?:src|href)=["']?(?:https?:)?//[^>]*>""", html.split("<body>")[1])
    with pytest.raises(UsageError, match="is a folder"):
        study.report(tmp_path, callbacks=[])


def test_the_commands_repeat_the_study_as_it_was_run() -> None:
    study = launch(overrides={"search.num_trials": 2, "search.scheduler": {"kind": "none"}})
    study.resume(num_trials=3, callbacks=[])
    assert study.confirm(top=1, until_decided=True, max_seeds=6, margin=0.25, metric="AP50", callbacks=[]) is not None
    html = report_of(study)
    assert "--set search.num_trials=3" in html
    assert "distune confirm one --top 1 --until-decided --max-seeds 6 --margin 0.25 --metric AP50" in html


def test_a_page_of_a_hundred_trials_is_small() -> None:
    fast = {"search.sampler": {"kind": "random"}, "search.storage": "journal"}
    study = launch(overrides={"search.num_trials": 100, "training.epochs": 12, **fast})
    assert (study.path / "report" / "report.html").stat().st_size < 8_000_000


def test_costs_have_a_pareto_front() -> None:
    study = launch(
        overrides={"search.num_trials": 4, "search.costs": ["parameters"], "search.scheduler": {"kind": "none"}},
        space={"name": "width", "parameters": {"student.fpn_channels": {"kind": "choice", "values": [16, 24, 32, 48]}}},
    )
    html = report_of(study)
    assert "Trials on the Pareto front" in html
    assert "Early stopping is off" in html


def test_settings_come_without_secrets() -> None:
    study = launch(overrides={"tracking.uri": "http://me:secret@host:5000"})
    html = report_of(study)
    assert "secret" not in html
    assert "host:5000" in html


@pytest.mark.slow
class TestTrained:
    """A study that is trained has pictures."""

    def test_pictures_prototypes_and_filter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        values = small_values(
            {
                **UNTRACKED,
                "data": {"num_train": 12},
                "search": {"num_trials": 1, "scheduler": {"kind": "none"}},
            }
        )
        study = distune.launch(values, name="real", runner="local", callbacks=[])
        html = report_of(study)
        assert html.count('<figure class="picture">') == 4
        for title in ("ground truth", "teacher", "control", "best (trial 0)"):
            assert html.count(f"<p>{title}</p>") == 4
        assert "prototypes</h3>" in html
        assert "Filter: lowest weights of " in html
        assert "Boxes of each class" in html
        assert "latency" in html
        assert "Timeline" in html

        # Detections are kept: another report runs no model, and an unreadable file of weights is a sentence.
        monkeypatch.setattr("distune.api.study_detections._predict", lambda *_: pytest.fail("a model ran"))
        study.report(callbacks=[])
        (study.path / "trials" / "control-1" / "best.pt").unlink()
        study.report(callbacks=[])
        html = report_of(study)
        assert "<p>control</p>" not in html
        assert "Pictures of control are missing: " in html
        file = write_report(study._folder, study._home, with_pictures=False, on_message=pytest.fail)
        assert "Pictures are left out, since the session has not finished." in file.read_text(encoding="utf-8")
