"""``distune confirm`` on the command line, and ``best`` and ``status`` before and after it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import distune as api
from distune.config.home import Home
from distune.config.paths import merge
from distune.study.files.study_folder import StudyFolder
from distune.study.runners.simulation import ENVIRONMENT_VARIABLE
from distune.study.status import StudyStatus, read_study
from support.command_line import Distune
from support.experiments import small_values
from support.prepared import copy_prepared
from support.zygote import Zygote

PRELOADED = ["distune.cli.main", "distune.confirmation.confirmation_session", "optuna.storages._rdb.storage"]
"""Modules that a confirmation imports."""


def write(folder: Path, changes: dict[str, Any] | None = None, *, tracked: bool = False) -> str:
    values = merge(small_values(changes), {"tracking": {"enabled": tracked}})
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(values))
    return str(path)


def make_study(home: Path) -> None:
    """Copy a finished study ``one`` into the home."""

    def make(root: Path) -> None:
        values = small_values({"tracking": {"enabled": False}})
        api.launch(values, name="one", simulate=True, runner="local", callbacks=[], home=root)

    copy_prepared("confirm", make, home)


def test_best_and_status_before_and_after_a_confirmation(distune: Distune, tmp_path: Path, home: Path) -> None:
    path = write(tmp_path, {"search": {"num_trials": 4}})
    assert distune("launch", path, "--simulate", "--runner", "local", "--name", "one").status == 0
    hint = "not confirmed yet: one seed, one control: run distune confirm one"
    assert hint in distune("best", "one").out
    assert hint in distune("status", "one").out
    before = json.loads(distune("best", "one", "--json").out)
    assert before["confirmation"] is None

    answer = distune("confirm", "one", "--top", "1", "--seeds", "4")
    assert answer.status == 0, answer.err
    assert "on seeds 1000 to 1003: 8 runs, at most 24 epochs to train" in answer.err
    headline = next(line for line in answer.out.splitlines() if line.startswith("confirmation: trial"))
    simulated = "simulated study: nothing was trained"
    assert simulated in answer.out
    assert ", test split: " in headline
    assert ", 4 seeds" in headline
    assert (home / "studies" / "one" / "confirmation" / "gain.png").is_file()
    assert headline in distune("best", "one").out
    assert headline in distune("status", "one").out
    assert all(simulated in distune(verb, "one").out for verb in ("best", "status"))
    after = json.loads(distune("best", "one", "--json").out)
    assert after["number"] == before["number"]
    assert after["gain"] == after["confirmation"]["test"]["mean"]
    assert after["confirmation"]["summary"] in headline
    assert json.loads(distune("status", "one", "--json").out)["confirmation"]["winner"] == after["number"]

    again = json.loads(distune("confirm", "one", "--top", "1", "--seeds", "4", "--json").out)
    assert again == {"simulated": True, **after["confirmation"]}

    more = distune("resume", "one", "--trials", "25")
    assert more.status == 0, more.err
    leader = json.loads(distune("status", "one", "--json").out)
    best = max(
        (trial for trial in leader["trials"] if trial["outcome"] == "finished" and not trial["control"]),
        key=lambda trial: trial["metrics"]["search/AP"],
    )["number"]
    assert best != after["number"], "the search continued and found a better trial"
    later = distune("best", "one").out
    assert headline in later
    assert f"trial {best} has since scored best in the search, and is not confirmed" in later
    changed = distune("confirm", "one", "--top", "1", "--seeds", "4").out
    assert f"confirmation: trial {best}" in changed
    assert "the test split was evaluated once before, for another trial or another metric" in changed


def test_best_reads_the_trials_once(distune: Distune, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_study(home)
    reads: list[str] = []

    def count(home: Home, name: str) -> StudyStatus:
        reads.append(name)
        return read_study(home, name)

    monkeypatch.setattr("distune.api.study_results.read_study", count)
    assert distune("best", "one", "--json").status == 0
    assert reads == ["one"]


def test_a_confirmation_continues_until_it_is_decided(distune: Distune, tmp_path: Path) -> None:
    path = write(tmp_path, {"search": {"num_trials": 4, "scheduler": {"kind": "none"}}})
    assert distune("launch", path, "--simulate", "--runner", "local", "--name", "one").status == 0
    answer = distune("confirm", "one", "--until-decided", "--seeds", "3", "--max-seeds", "9", "--margin", "0.5")
    assert answer.status == 0, answer.err
    assert "a race of the trials" in answer.err
    assert "and more until it is decided, at most 9 seeds" in answer.err
    assert answer.out.count(": chosen after 3 seeds, AP ") == 1
    assert answer.out.count(": dropped after ") == 3
    result = json.loads(distune("best", "one", "--json").out)["confirmation"]
    assert (result["max_seeds"], result["margin"], len(result["selection_seeds"])) == (9, 0.5, 3)
    assert result["test"]["nominal_error"] < 0.02


def test_a_plan_starts_at_the_seeds_on_record(distune: Distune, tmp_path: Path) -> None:
    path = write(tmp_path, {"search": {"num_trials": 2}})
    assert distune("launch", path, "--simulate", "--runner", "local", "--name", "one").status == 0
    first = distune("confirm", "one", "--top", "1", "--seeds", "6").out
    answer = distune("confirm", "one", "--top", "1", "--until-decided")
    assert answer.status == 0, answer.err
    assert "on seeds 1000 to 1005, and more until it is decided" in answer.err
    again = distune("confirm", "one", "--top", "1").out
    assert "6 seeds" in first
    assert "interval 2" not in again or "7 seeds" in again
    assert distune("confirm", "one", "--top", "1", "--metric", "AP50").status == 0


def test_one_seed_is_reported_as_undecided(distune: Distune, home: Path) -> None:
    make_study(home)
    answer = distune("confirm", "one", "--top", "1", "--seeds", "1").out
    assert "1 seed: undecided, since one seed says nothing about the spread between seeds" in answer
    assert "the interval means little below 3 seeds" in answer


def test_mistakes_are_named(distune: Distune, tmp_path: Path) -> None:
    path = write(tmp_path)
    assert "study nope was not found in" in distune("confirm", "nope").err
    distune("launch", path, "--simulate", "--runner", "local", "--name", "one")
    bad = distune("confirm", "one", "--metric", "mAP")
    assert (bad.status, "metric mAP: must be one of AP, AP50" in bad.err) == (2, True)
    assert distune("confirm", "one", "--seeds", "0").status == 2
    assert distune("confirm", "one", "--margin", "1").status == 2
    few = distune("confirm", "one", "--teachers", "4", "--seeds", "3").err
    assert "teachers = 4: each teacher needs a seed; ask for at least 4 seeds" in few
    assert "needs 2 <= seeds <= max_seeds" in distune("confirm", "one", "--until-decided", "--max-seeds", "3").err
    help_text = distune("confirm", "--help").out
    assert "distune confirm quickstart --top 1 --seeds 8" in help_text


def test_seeds_under_which_the_student_diverged_are_reported_and_make_the_gain_unstable(
    distune: Distune, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_study(home)
    number = json.loads(distune("best", "one", "--json").out)["number"]
    faults = {
        f"confirm-{number}-seed-1000": {"epoch": 2, "kind": "nan"},
        f"confirm-{number}-seed-1001": {"epoch": 2, "kind": "nan"},
        "confirm-control-seed-1002": {"epoch": 2, "kind": "error"},
    }
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, json.dumps({"faults": faults}))
    answer = distune("confirm", "one", "--top", "1", "--seeds", "5").out
    for said in (answer, distune("best", "one").out):
        assert ", 2 of 5 seeds, 2 diverged, 1 control failed" in said
        assert f"confirm-{number}-seed-1001: diverged (loss/task was nan in epoch 2)" in said
        assert "the student diverged under 2 of 5 seeds, which are excluded: the estimate is optimistic" in said
        assert ": gain " not in said
    assert answer.count(f"confirm-{number}-seed-1001: diverged") == 1
    assert ", 2 of 5 seeds, 2 diverged, 1 control failed" in distune("status", "one").out


def test_settings_that_were_edited_are_named_or_refused_as_when_a_study_is_resumed(
    distune: Distune, tmp_path: Path, home: Path
) -> None:
    make_study(home)
    file = home / "studies" / "one" / "experiment.yaml"
    values = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump(merge(values, {"training": {"epochs": 2}})))
    refused = distune("confirm", "one", "--top", "1", "--seeds", "2")
    assert refused.status == 2
    assert "cannot continue with changed settings" in refused.err
    assert not (home / "studies" / "one" / "confirmation").exists()
    file.write_text(yaml.safe_dump(merge(values, {"resources": {"max_concurrent": 7}})))
    named = distune("confirm", "one", "--top", "1", "--seeds", "2")
    assert named.status == 0, named.err
    assert "resources.max_concurrent" in named.err


def test_a_study_that_is_running_is_left_alone(
    distune: Distune, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_study(home)

    def refuse(*arguments: Any) -> None:
        pytest.fail("the tracker was opened")

    monkeypatch.setattr("distune.api.preparation.build_tracker", refuse)
    monkeypatch.setattr("distune.study.files.study_lock._TIMEOUT_S", 0.05)
    with StudyFolder(home / "studies" / "one").lock():
        answer = distune("confirm", "one", "--top", "1", "--seeds", "2")
    assert answer.status == 2
    assert answer.err.strip() == "error: study one is running in another process; wait for it or stop it"


def test_a_study_without_controls_is_warned_of_and_can_be_confirmed(distune: Distune, tmp_path: Path) -> None:
    path = write(tmp_path, {"search": {"controls": 0}})
    plan = distune("validate", path).out
    assert "warning: search.controls = 0: without a control the gain is unknown" in plan
    launched = distune("launch", path, "--simulate", "--runner", "local", "--name", "one")
    assert launched.status == 0, launched.err
    assert "warning: search.controls = 0" in launched.err
    assert "gain: unknown, no control has finished; not confirmed yet" in distune("best", "one").out
    assert ", 3 seeds" in distune("confirm", "one", "--top", "1", "--seeds", "3").out
    assert "warning: search.controls" not in distune("validate", write(tmp_path)).out


def test_a_killed_confirmation_resumes(distune: Distune, tmp_path: Path, home: Path) -> None:
    make_study(home)
    number = json.loads(distune("best", "one", "--json").out)["number"]
    epoch_log = tmp_path / "epoch_log"
    fault = {f"confirm-{number}-seed-1001": {"epoch": 2, "kind": "kill"}}
    command, log = ("confirm", "one", "--top", "1", "--seeds", "3"), tmp_path / "log"
    with Zygote(PRELOADED, environment={"DISTUNE_HOME": str(home)}, folder=tmp_path) as zygote:
        settings = {ENVIRONMENT_VARIABLE: json.dumps({"epoch_log": str(epoch_log), "faults": fault})}
        assert zygote.run(*command, log=log, environment=settings) == -signal.SIGKILL
        assert "not confirmed yet" in distune("best", "one").out
        settings = {ENVIRONMENT_VARIABLE: json.dumps({"epoch_log": str(epoch_log)})}
        assert zygote.run(*command, log=log, environment=settings) == 0, log.read_text()
    computed = [tuple(line.split()[:2]) for line in epoch_log.read_text().splitlines() if line.startswith("confirm")]
    # The epoch in which the process died was computed and lost; no other one was computed twice.
    twice = [line for line in computed if computed.count(line) > 1]
    assert twice == [(f"confirm-{number}-seed-1001", "2")] * 2
    assert len(set(computed)) == 2 * 3 * 3


@pytest.mark.torture
def test_a_real_confirmation_is_killed_and_resumes(distune: Distune, tmp_path: Path, home: Path) -> None:
    tiny = {"training": {"epochs": 2}, "search": {"num_trials": 1}, "data": {"num_train": 4, "num_search": 2}}
    path = write(tmp_path, tiny, tracked=True)
    launched = distune("launch", path, "--runner", "local")
    assert launched.status == 0, launched.err
    interrupted = kill_after_first_epoch(home)
    assert interrupted == -signal.SIGKILL
    folder = home / "studies" / "small" / "confirmation"
    before = {path: path.read_bytes() for path in folder.rglob("metrics.jsonl")}
    assert before

    answer = distune("confirm", "small", "--seeds", "2")
    assert answer.status == 0, answer.err
    assert "confirmation: trial 0, test split: " in answer.out
    assert not any("simulated" in each for each in (answer.out, launched.out, distune("best", "small").out))
    for file, content in before.items():
        assert file.read_bytes().startswith(content), "epochs on record were trained again"
    for seed in (1000, 1001):
        for arm in ("control", "0"):
            lines = (folder / f"seed-{seed}" / arm / "metrics.jsonl").read_text().splitlines()
            assert [json.loads(line)["epoch"] for line in lines] == [1, 2]
            assert not (folder / f"seed-{seed}" / arm / "last.pt").exists()

    best = json.loads(distune("best", "small", "--json").out)
    assert Path(best["weights"]).is_file()
    confirmed = best["confirmation"]
    scored = json.loads(distune("evaluate", path, best["weights"], "--split", "test", "--json").out)
    students = [str(folder / f"seed-{seed}" / "0" / "best.pt") for seed in (1000, 1001)]
    answers = [distune("evaluate", path, student, "--split", "test", "--json") for student in students]
    both = [json.loads(answer.out)["test/AP"] for answer in answers]
    assert confirmed["test"]["student"] == pytest.approx(sum(both) / 2, abs=1e-6)
    assert scored["test/AP"] in both

    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    confirmations = [each for each in runs if each.data.tags.get("distune.kind") == "confirmation"]
    assert sorted(each.info.run_name for each in confirmations) == [
        "confirm 0 seed 1000",
        "confirm 0 seed 1001",
        "confirm control seed 1000",
        "confirm control seed 1001",
    ]
    parent = next(each for each in runs if "distune.trial" not in each.data.tags)
    for each in confirmations:
        assert each.info.status == "FINISHED"
        assert each.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert each.data.tags["distune.confirms"] in ("0", "control")
        points = client.get_metric_history(each.info.run_id, "search/AP")
        assert sorted(point.step for point in points) == [1, 2]
    assert parent.data.metrics["gain/AP"] == pytest.approx(confirmed["test"]["mean"])
    assert parent.data.metrics["gain/low"] <= parent.data.metrics["gain/high"]
    assert parent.data.tags["distune.verdict"] == confirmed["summary"]
    assert parent.info.status == "FINISHED"
    assert {"gain.png", "confirmation.json"} <= {
        Path(each.path).name for each in client.list_artifacts(parent.info.run_id, "report")
    }


_KILLED_AFTER_AN_EPOCH = """
import os, signal
from distune.cli.main import main
from distune.training.joint_run import JointRun

run_epoch = JointRun.run_epoch

def run_and_die(self):
    run_epoch(self)
    os.kill(os.getpid(), signal.SIGKILL)

JointRun.run_epoch = run_and_die
main()
"""


def kill_after_first_epoch(home: Path) -> int:
    """Run a confirmation until its first epoch is on disk, and kill it before it is reported."""
    command = [sys.executable, "-c", _KILLED_AFTER_AN_EPOCH, "confirm", "small", "--seeds", "2"]
    values = {**os.environ, "DISTUNE_HOME": str(home)}
    return subprocess.run(command, env=values, capture_output=True, check=False).returncode


@pytest.mark.parametrize(
    ("options", "command"),
    [
        ([], "distune confirm one"),
        (
            ["--until-decided", "--max-seeds", "12", "--top", "1"],
            "distune confirm one --top 1 --until-decided --max-seeds 12",
        ),
        (["--seeds", "6", "--metric", "AP50"], "distune confirm one --seeds 6 --metric AP50"),
    ],
)
def test_an_interrupted_confirmation_names_the_command_with_its_options(
    distune: Distune, home: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], command: str
) -> None:
    make_study(home)
    monkeypatch.setattr("distune.api.study.Study.confirm", lambda *_, **__: None)
    answer = distune("confirm", "one", *options)
    assert answer.status == 1
    assert answer.err.rstrip().endswith(f"the confirmation was interrupted; continue with: {command}")
