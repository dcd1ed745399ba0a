"""benchmarks/time_to_quality.py: when a score was reached, and studies that are stored."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from support.benchmarks import BENCHMARKS

POINTS = {"random": [[9.0, 12.0], [4.0, 10.0]], "tpe_asha": [[3.0, 11.0]], "cohorts": [[2.0, 8.0], [5.0, 10.0]]}


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("time_to_quality")


def test_the_target_is_the_lowest_best_score_and_epochs_are_counted_in_order_of_time(
    benchmark: Any, tmp_path: Path
) -> None:
    stored = benchmark.Stored(tmp_path / "results.jsonl", ["quickstart"])
    for arm, points in POINTS.items():
        stored.add({"arm": arm, "seed": 0, "points": points})
    lines = benchmark.compare(["quickstart"], 0, stored)
    assert {line["target"] for line in lines} == {10.0}
    reached = {line["arm"]: (line["seconds_to_target"], line["epochs_to_target"]) for line in lines}
    assert reached == {"random": (4.0, 1), "tpe_asha": (3.0, 1), "cohorts": (5.0, 2)}
    assert {line["arm"]: line["total_s"] for line in lines} == {"random": 9.0, "tpe_asha": 3.0, "cohorts": 5.0}


def test_a_stored_study_is_found_by_settings_arm_and_seed(benchmark: Any, tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    benchmark.Stored(file, ["quickstart", "--trials", "8"]).add({"arm": "random", "seed": 0, "points": [[1.04, 2.0]]})
    for settings, arm, seed in [("8", "random", 1), ("8", "cohorts", 0), ("16", "random", 0)]:
        assert benchmark.Stored(file, ["quickstart", "--trials", settings]).find(arm, seed) is None
    found = benchmark.Stored(file, ["quickstart", "--trials", "8"]).find("random", 0)
    assert found == {"arm": "random", "seed": 0, "points": [[1.0, 2.0]]}
    assert len([json.loads(line) for line in file.read_text().splitlines()]) == 1
