"""What tests of benchmarks share: fixtures, stored lines of results, and cells of tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def same_number_of_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def benchmarks_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)


def stored_line(arm: str, seed: int, ap: float, *, split: str = "test") -> dict[str, Any]:
    return {
        "arm": arm,
        "seed": seed,
        "split": split,
        "figures": {"AP": ap},
        "resampled_AP": [ap - 1.0, ap + 1.0, ap],
        "images": 50,
        "condition": {},
    }


def cell(summary: str, arm: str, column: int) -> str:
    (row,) = [line for line in summary.splitlines() if line.startswith(f"| {arm} |")]
    return row.split("|")[column].strip()
