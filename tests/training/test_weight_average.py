"""The moving average of the weights: its formula, what is evaluated and delivered, and resuming."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from distune.config.training import EmaSettings
from distune.detectors.weights import fetch_weights
from distune.training.weight_average import WeightAverage, build_weight_average
from support.experiments import small_experiment
from support.families import SETTINGS, batch, build
from support.solo_runs import assert_equal, builder, solo, timeless

EMA = {"training": {"ema": {"decay": 0.5}}}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


class Counter:
    """A model whose weight and statistics are the number of the step, and its average."""

    def __init__(self, **settings: Any) -> None:
        self.model = nn.BatchNorm1d(1)
        self.step(0.0)
        self.average = WeightAverage(self.model, **{"decay": 0.75, "every_steps": 1, "warmup_steps": 0, **settings})

    def step(self, value: float) -> None:
        with torch.no_grad():
            self.model.weight.fill_(value)
            assert self.model.running_mean is not None
            self.model.running_mean.fill_(value)

    def run(self, steps: range) -> list[float]:
        """The averaged weight after each step; that of the statistics is the same."""
        found = []
        for step in steps:
            self.step(float(step))
            self.average.update(self.model)
            state = self.average.model.state_dict()
            assert torch.equal(state["weight"], state["running_mean"])
            found.append(float(state["weight"]))
        return found


def test_the_first_update_copies_and_the_others_average() -> None:
    assert Counter().run(range(1, 4)) == [1.0, 0.75 * 1 + 0.25 * 2, 0.75 * 1.25 + 0.25 * 3]


def test_updates_during_warm_up_copy() -> None:
    assert Counter(warmup_steps=3).run(range(1, 5)) == [1.0, 2.0, 3.0, 3.25]


def test_updates_after_every_second_step() -> None:
    assert Counter(every_steps=2).run(range(1, 6)) == [1.0, 1.0, 1.5, 1.5, 0.75 * 1.5 + 0.25 * 5]


@pytest.mark.parametrize("settings", [{}, {"warmup_steps": 3}, {"every_steps": 2}])
def test_a_restored_average_continues(settings: dict[str, Any]) -> None:
    whole = Counter(**settings).run(range(1, 7))
    first = Counter(**settings)
    found = first.run(range(1, 3))
    second = Counter(**settings)
    second.average.load_state_dict(copy.deepcopy(first.average.state_dict()))
    assert found + second.run(range(3, 7)) == whole


def test_settings_of_the_average() -> None:
    model = nn.Linear(1, 1)
    assert build_weight_average(EmaSettings(), model, warmup_steps=3) is None
    average = build_weight_average(EmaSettings(decay=0.9), model, warmup_steps=3)
    assert average is not None
    assert average.model is not model
    assert not any(each.requires_grad for each in average.model.parameters())


@pytest.mark.parametrize("family", sorted(SETTINGS))
def test_the_average_of_a_detector_does_not_use_the_weights_in_training(family: str) -> None:
    model: Any = build(family).model.eval()
    if hasattr(model, "score_thresh"):
        model.score_thresh = 0.0  # one-stage detectors start with low scores
    average = WeightAverage(model, decay=0.9, every_steps=1, warmup_steps=0)
    images, _ = batch()
    with torch.no_grad():
        before = model(images)
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.fill_(0)
        after = average.model.eval()(images)
    for first, second in zip(before, after, strict=True):
        assert_equal(first, second)
    assert any(len(each["scores"]) for each in before)


def test_averaged_weights_are_evaluated_saved_and_resumed_bit_for_bit(tmp_path: Path) -> None:
    each = builder(small_experiment(EMA))
    whole = solo(each, tmp_path / "whole")
    reports = [whole.run_epoch() for _ in range(2)]
    resumed = []
    for _ in range(2):
        part = solo(each, tmp_path / "parts")
        resumed.append(part.run_epoch())
        part.close()
    assert [timeless(report.metrics) for report in reports] == [timeless(report.metrics) for report in resumed]
    states = [torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("whole", "parts")]
    averages = [state["ema"] for state in states]
    assert_equal(averages[0], averages[1])
    assert_equal(states[0]["model"], states[1]["model"])
    best = torch.load(tmp_path / "whole" / "best.pt", weights_only=True)
    averaged = {f"module.{name}": value for name, value in best["model"].items()}
    raw = states[0]["model"]
    assert any(not torch.equal(value, raw[name.removeprefix("module.")]) for name, value in averaged.items())
    if best["epoch"] == 2:
        assert_equal(averaged, {name: averages[0][name] for name in averaged})
    as_weights = fetch_weights(str(tmp_path / "whole" / "last.pt"))  # whoever reads the file as weights finds it
    assert_equal(
        {name: averages[0][name] for name in averaged}, {f"module.{k}": v for k, v in as_weights.state.items()}
    )
    plain = solo(builder(small_experiment()), tmp_path / "plain")
    for _ in range(2):
        plain.run_epoch()
    without = torch.load(tmp_path / "plain" / "last.pt", weights_only=True)
    assert_equal(raw, without["model"])  # training itself does not depend on the average
    assert "ema" not in without
