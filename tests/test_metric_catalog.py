"""The metric catalog lists every metric that distune logs, and nothing else; the docs show it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from distune.config.distillation import PRESETS, DistillationSettings
from distune.data.build import build_splits
from distune.metric_catalog import METRICS, Logged, MetricEntry
from distune.tracking.events import EpochLogged, StudyLogged, TrialEnded, decode
from distune.tracking.values import summary_metrics
from distune.training.builder import TrialBuilder
from distune.training.solo_run import open_teacher_cache
from support.command_line import run
from support.experiments import small_experiment, small_values

ROOT = Path(__file__).parents[1]
LARGE_IMAGES = {"data": {"image_size_px": 256, "min_size_px": 256, "max_size_px": 256, "max_objects": 8}}
FASTER = {"family": "fasterrcnn", "box_head_channels": 32, "proposals_per_image": 16}
TERMS = {name: {"weight": 0.5, "unit": "raw"} for name in DistillationSettings().terms}


def entries_of(names: Iterable[str], logged: Logged = Logged.EACH_EPOCH) -> list[MetricEntry]:
    """The entries of metric names; each name must match exactly one."""
    entries = []
    for name in sorted(set(names)):
        matching = [entry for entry in METRICS if entry.logged is logged and entry.matches(name)]
        assert len(matching) == 1, (name, matching)
        entries += matching
    return entries


def epoch_metrics(changes: dict[str, Any]) -> set[str]:
    """The metric names of two epochs of training."""
    experiment = small_experiment(changes)
    builder = TrialBuilder(experiment, build_splits(experiment.data), torch.device("cpu"))
    teacher = builder.detector(experiment.teacher, seed=1)
    stream, cache = builder.stream(experiment.training, seed=0), open_teacher_cache(experiment, None)
    cohort = builder.cohort(experiment.training, stream, teacher, epochs_done=0, cache=cache)
    cohort.join(
        builder.student("only", experiment.student, experiment.training, seed=0, steps_per_epoch=2, teacher=teacher)
    )
    names: set[str] = set()
    for _ in range(2):
        result = cohort.run_epoch()["only"]
        assert result.error is None
        names |= result.metrics.keys()
    return names


@pytest.fixture(scope="module")
def trained() -> set[str]:
    """The metric names of small trainings: every preset, every term, two families, large boxes."""
    torch.set_num_threads(1)
    names: set[str] = set()
    for preset in PRESETS:
        names |= epoch_metrics({"distillation": {"preset": preset}, "training": {"gradient_clip_norm": 5.0}})
    names |= epoch_metrics({"distillation": TERMS, **LARGE_IMAGES})
    return names | epoch_metrics({"student": FASTER, "teacher": FASTER, "data": {"augmentation": {"copies": 1}}})


def test_every_metric_of_an_epoch_is_in_the_catalog(trained: set[str]) -> None:
    found = entries_of(trained)
    costs = {entry for entry in METRICS if entry.name.startswith("student/")}
    missing = {entry.name for entry in METRICS if entry.logged is Logged.EACH_EPOCH} - {entry.name for entry in found}
    assert missing == {entry.name for entry in costs}, "no training logs these"
    assert {name.removeprefix("loss/") for name in trained if name.startswith("loss/")} == {*TERMS, "task", "total"}


def test_every_metric_of_a_study_is_in_the_catalog(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A real study with a teacher, costs, a confirmation and an ablation: all that its tracker is given."""
    monkeypatch.setenv("DISTUNE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    space = {
        "name": "widths",
        "description": "two widths",
        "parameters": {"student.fpn_channels": {"kind": "choice", "values": [16, 24]}},
    }
    Path("widths.yaml").write_text(yaml.safe_dump(space))
    search: dict[str, Any] = {"costs": ["parameters", "flops", "latency_ms"], "num_trials": 1, "space": "widths.yaml"}
    search["scheduler"] = {"kind": "none"}
    values = small_values({"training": {"epochs": 1}, "search": search, "tracking": {"uri": "http://127.0.0.1:9"}})
    Path("mine.yaml").write_text(yaml.safe_dump(values))
    for arguments in (
        ["launch", "mine.yaml", "--runner", "local", "--name", "one"],
        ["confirm", "one", "--seeds", "2"],
        ["explain", "one", "--ablate", "--seeds", "2"],
    ):
        answer = run(capsys, monkeypatch, *arguments)
        assert answer.status == 0, answer.err
    lines = (tmp_path / "home" / "studies" / "one" / "spool.jsonl").read_bytes().splitlines()
    events = [decode(line) for line in lines]
    epochs = [name for event in events if isinstance(event, EpochLogged) for name in event.report.metrics]
    ends = [name for event in events if isinstance(event, TrialEnded) for name in summary_metrics(event.record.metrics)]
    figures = [name for event in events if isinstance(event, StudyLogged) for name in event.metrics]
    found = [*entries_of(epochs), *entries_of(ends, Logged.TRIAL_END), *entries_of(figures, Logged.STUDY)]
    expected = {
        entry.name for entry in METRICS if entry.logged is not Logged.EACH_EPOCH or entry.name.startswith("student/")
    }
    assert expected <= {entry.name for entry in found}


def test_the_named_modules_exist() -> None:
    for entry in METRICS:
        assert importlib.util.find_spec(f"distune.{entry.module}") is not None, entry


def test_the_docs_show_the_catalog() -> None:
    spec = importlib.util.spec_from_file_location("make_metrics_table", ROOT / "docs" / "make_metrics_table.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    page = script.PAGE.read_text(encoding="utf-8")
    assert page == script.with_tables(page), "run: python docs/make_metrics_table.py"
    assert all(f"`{entry.name}`" in page for entry in METRICS)
