"""A benchmark that compares two versions of something must compare the same thing, whatever the presets become."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SMALL = "--size 96 --channels 16 --classes 3 --teacher-backbone resnet18 --batch 2 --boxes 3 --rounds 3"


@pytest.fixture
def _same_number_of_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_same_number_of_threads")
def test_the_losses_in_loops_over_boxes_equal_those_of_distune(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setattr(sys, "argv", ["distill_step.py", "--parts", "loops", *SMALL.split()])
    importlib.import_module("distill_step").main()
    loops = json.loads(capsys.readouterr().out)["loops"]
    assert min(loops["values"].values()) > 0
    assert loops["same_values"], loops
