"""``distune validate --probe`` and the warning of a study about identical trials."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from distune.api.progress import LiveTable, PlainProgress
from distune.config.paths import merge
from distune.records import TrialSpec
from distune.reports.console import make_console
from distune.study.runners import simulation
from support.command_line import Answer, run
from support.experiments import small_values

TEMPERATURE = "distillation.soft_labels.temperature"
THRESHOLD = "distillation.filter.global_threshold"
SPACE = {
    TEMPERATURE: {"kind": "float", "low": 1.0, "high": 10.0},
    THRESHOLD: {"kind": "float", "low": 0.05, "high": 0.8, "log": True},
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    torch.set_num_threads(1)
    monkeypatch.setenv("DISTUNE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def write(folder: Path, changes: dict[str, Any] | None = None, more_parameters: dict[str, Any] | None = None) -> str:
    parameters = {**SPACE, **(more_parameters or {})}
    (folder / "space.yaml").write_text(yaml.safe_dump({"name": "mine", "parameters": parameters}, sort_keys=False))
    values = merge(small_values({"search": {"space": "space.yaml"}, "tracking": {"enabled": False}}), changes or {})
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(values))
    return str(path)


def validate(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, path: str, *arguments: str) -> Answer:
    return run(capsys, monkeypatch, "validate", path, "--probe", "--probe-images", "6", *arguments)


def test_a_space_with_an_effect(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: Path
) -> None:
    answer = validate(capsys, monkeypatch, write(tmp_path))
    assert answer.status == 0, answer.err
    assert "the teacher is not trained yet, so random weights are used" in answer.err
    assert f"probe: {TEMPERATURE} at 1 and 10: has an effect, " in answer.err
    rows = [line.split() for line in answer.out.splitlines()]
    assert ["soft_labels.temperature", "1", "and", "10", "has", "an", "effect"] in [row[:7] for row in rows]
    assert ["filter.global_threshold", "0.05", "and", "0.8", "has", "an", "effect"] in [row[:7] for row in rows]
    assert not home.exists(), "a probe writes nothing"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.yaml", "space.yaml"]


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_a_parameter_without_effect_is_an_error_that_names_it(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    home: Path,
    arguments: list[str],
) -> None:
    path = write(tmp_path, {"distillation": {"filter": {"weight": "uniform"}}})
    answer = validate(capsys, monkeypatch, path, *arguments)
    assert answer.status == 2
    assert "search space mine: 1 problem" in answer.err
    assert (
        f"{THRESHOLD}  changes neither a loss nor a gradient between 0.05 and 0.8: because distillation.filter.weight "
        "is uniform; it would have an effect with gaussian"
    ) in answer.err
    if arguments:
        found = json.loads(answer.out)["probe"]
        assert [(each["path"], each["verdict"]) for each in found] == [
            (TEMPERATURE, "has an effect"),
            (THRESHOLD, "no effect"),
        ]
        assert found[0]["change"]["fraction"] > 0
        assert found[1]["change"] is None


def test_a_setting_that_only_another_kind_has_is_no_cause(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: Path
) -> None:
    kind = "distillation.prototypes.source.kind"
    more = {
        kind: {"kind": "choice", "values": ["queue", "feature_pass"]},
        "distillation.prototypes.source.max_images": {
            "kind": "int",
            "low": 2,
            "high": 6,
            "when": {kind: "feature_pass"},
        },
    }
    path = write(tmp_path, {"distillation": {"filter": {"weight": "uniform"}}}, more)
    answer = validate(capsys, monkeypatch, path)
    assert answer.status == 2
    assert f"{THRESHOLD}  changes neither a loss nor a gradient between 0.05 and 0.8" in answer.err


def test_a_probe_needs_data(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    answer = run(capsys, monkeypatch, "validate", "bccd", "--probe")
    assert answer.status == 2
    assert "data.root" in answer.err


def test_identical_trials_are_reported_while_a_study_runs_at_its_end_and_later(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: Path
) -> None:
    def insensitive(spec: TrialSpec, epoch: int) -> dict[str, float]:
        return {"search/AP": 10.0 + epoch, "loss/task": 1.0 / epoch}

    monkeypatch.setattr(simulation, "simulated_metrics", insensitive)
    launched = run(capsys, monkeypatch, "launch", write(tmp_path), "--simulate", "--runner", "local")
    assert launched.status == 0, launched.err
    warning = "warning: trials 0, 1 report identical losses and scores"
    assert launched.err.count(warning) == 1
    assert launched.out.count(warning) == 1
    later = run(capsys, monkeypatch, "status", "small-simulated")
    assert later.out.count(warning) == 1
    assert TEMPERATURE in later.out


def test_both_views_show_messages(capsys: pytest.CaptureFixture[str]) -> None:
    console = make_console(stderr=True)
    for view in (PlainProgress(console), LiveTable(console)):
        view.on_message("warning: [trials] 0, 1")
        assert "warning: [trials] 0, 1" in capsys.readouterr().err
