"""The search on the command line: plan, fixed parameters, warm start, changed settings, Pareto fronts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from distune.config.paths import merge
from support.command_line import Distune
from support.experiments import small_values

CHANNELS = "student.fpn_channels"
SPACE: dict[str, Any] = {
    "name": "given",
    "parameters": {
        CHANNELS: {"kind": "choice", "values": [16, 24, 32]},
        "distillation.decay": {"kind": "choice", "values": ["linear", "cosine"]},
        "distillation.start_epoch": {"kind": "int", "low": 0, "high": 0 + 1, "when": {"distillation.decay": "cosine"}},
    },
}


def write(folder: Path, changes: dict[str, Any] | None = None) -> str:
    (folder / "space.yaml").write_text(yaml.safe_dump(SPACE))
    search = {"space": "space.yaml", "num_trials": 3, "scheduler": {"kind": "none"}}
    values = merge(
        small_values({"search": {**search, "scheduler": {"kind": "none"}}}), {"tracking": {"enabled": False}}
    )
    values["search"] = search
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(merge(values, {"training": {"epochs": 2}, **(changes or {})})))
    return str(path)


def test_the_plan_names_conditions_configurations_and_sizes(distune: Distune, tmp_path: Path) -> None:
    answer = distune("validate", write(tmp_path), "--fix", f"{CHANNELS}=24")
    assert answer.status == 0, answer.err
    assert "plan: 3 trials and 1 control of 2 epochs, no early stopping; about 8 epochs of at most 8" in answer.out
    assert "plan: the space has 3 configurations; none is trained twice" in answer.out
    assert "proposes at random until 10 trials have finished or were stopped: in all 3 of this study" in answer.out
    assert "searched: distillation.start_epoch  0 to 1, when distillation.decay is cosine" in answer.out
    assert "searched: student" not in answer.out
    assert "disk: about " in answer.out
    assert "memory: at least " in answer.out
    plan = json.loads(distune("validate", str(tmp_path / "mine.yaml"), "--json").out)["plan"]
    assert (plan["num_configurations"], plan["expected_epochs"]) == (9, 8)
    inactive = distune("validate", str(tmp_path / "mine.yaml"), "--fix", "distillation.decay=linear")
    assert "never active: distillation.start_epoch  distillation.decay is linear" in inactive.out
    first = "search.initial_configurations=[{distillation.decay: linear}, {distillation.decay: cosine}]"
    many = distune("validate", str(tmp_path / "mine.yaml"), "--set", first, "--set", "search.num_trials=2")
    assert "warning: 3 initial configurations are more than search.num_trials = 2: the last 1 wait" in many.out
    wrong = distune("validate", str(tmp_path / "mine.yaml"), "--fix", "distillation.dekay=linear")
    assert wrong.status == 2
    assert 'did you mean "distillation.decay"?' in wrong.err


def test_a_study_with_costs_a_warm_started_one_and_changed_settings(distune: Distune, tmp_path: Path) -> None:
    path = write(tmp_path, {"search": {"space": "space.yaml", "num_trials": 3, "costs": ["parameters"]}})
    launched = distune("launch", path, "--simulate", "--runner", "local", "--name", "first")
    assert launched.status == 0, launched.err
    assert "Pareto front" in launched.out
    best = json.loads(distune("best", "first", "--json").out)
    assert best["number"] in [trial["number"] for trial in best["pareto_front"]]
    assert "student/parameters" in distune("best", "first").out
    assert (tmp_path / "home" / "studies" / "first" / "report" / "pareto_front.png").is_file()

    refused = distune("resume", "first", "--set", "training.epochs=3")
    assert refused.status == 2
    assert "training.epochs  2    3       trials before and after the change would not be comparable" in refused.err
    assert "--warm-start first" in refused.err
    further = distune("resume", "first", "--set", "search.controls=2")
    assert further.status == 0, further.err
    assert "search.controls  1    2" in further.err
    assert sum(trial["control"] for trial in json.loads(distune("status", "first", "--json").out)["trials"]) == 2

    heir = distune(
        *("launch", path, "--simulate", "--runner", "local", "--name", "heir"),
        *("--set", "search.costs=[]", "--set", "search.num_trials=1", "--set", "search.defaults_first=false"),
        *("--warm-start", "first", "--warm-start-top", "1"),
    )
    assert heir.status == 0, heir.err
    assert "warm start: 3 of 3 parameters are searched in study first too" in heir.err
    (trial,) = [each for each in json.loads(distune("status", "heir", "--json").out)["trials"] if not each["control"]]
    assert trial["params"] == best["params"]


def test_a_space_whose_configurations_are_all_tried(distune: Distune, tmp_path: Path) -> None:
    path = write(tmp_path)
    fixed = ("--fix", f"{CHANNELS}=16", "--set", "search.num_trials=8")
    answer = distune("launch", path, "--simulate", "--runner", "local", "--name", "dry", *fixed)
    assert answer.status == 0, answer.err
    assert "reason: all configurations of the search space have been tried: 3 trials instead of 8" in answer.out
    assert "study dry (simulated): finished" in distune("status", "dry").out


def test_a_sampler_whose_package_is_missing(distune: Distune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distune.study.search.samplers._PACKAGES", {"gp": "no_such_package"})
    path = write(tmp_path)
    fixed = ("--set", "search.sampler={kind: gp}", "--fix", "distillation.decay=linear")
    for verb in (("validate",), ("launch", "--simulate")):
        answer = distune(verb[0], path, *verb[1:], *fixed)
        assert answer.status == 2
        assert "search.sampler.kind = gp needs the package no_such_package" in answer.err
    assert not (tmp_path / "home").exists()


def test_a_study_cannot_continue_with_a_sampler_whose_package_is_missing(
    distune: Distune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed = ("--fix", "distillation.decay=linear")
    assert distune("launch", write(tmp_path), "--simulate", "--runner", "local", "--name", "one", *fixed).status == 0
    monkeypatch.setattr("distune.study.search.samplers._PACKAGES", {"gp": "no_such_package"})
    folder = tmp_path / "home" / "studies" / "one"
    before = {path: path.read_bytes() for path in folder.glob("*.*") if path.is_file()}
    answer = distune("resume", "one", "--trials", "4", "--set", "search.sampler={kind: gp}")
    assert answer.status == 2
    assert "search.sampler.kind = gp needs the package no_such_package" in answer.err
    assert {path: path.read_bytes() for path in before} == before, "nothing has been put on record"
