"""The findings of benchmarks/early_stopping.py, on the schedulers of the product."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distune.config.load import load_experiment
from distune.config.search import AshaSettings, SearchSettings
from distune.config.shipped import shipped_names
from distune.draft.measurements import Measurements
from distune.draft.recommend import recommend

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("early_stopping")


def regret(benchmark: Any, model: Any, scheduler: AshaSettings, *, controls: str = "none") -> float:
    def score(curves: Any) -> Any:
        return curves.scores_NE - benchmark.CONTROLS[controls](curves)

    found = benchmark.simulate(model, 16, scheduler, 150, score=score, final=lambda curves: score(curves)[:, -1])
    return float(found.regret)


def test_one_seed_for_all_trials_is_the_pairing_that_helps(benchmark: Any) -> None:
    """With a seed for each trial stopping costs more, and subtracting measured controls costs more again."""
    rule = benchmark.asha(3, 2)
    one_seed = regret(benchmark, benchmark.Model(), rule)
    own_seeds = regret(benchmark, benchmark.own_seeds(), rule)
    paired = regret(benchmark, benchmark.own_seeds(), rule, controls="own controls")
    assert one_seed + 0.1 < own_seeds < paired - 0.1
    assert regret(benchmark, benchmark.Model(), rule, controls="one control") == one_seed


def test_paired_scores_help_only_if_seeds_differ_and_the_noise_is_mostly_that_of_the_control(benchmark: Any) -> None:
    rule = benchmark.asha(3, 2)
    alike = benchmark.own_seeds(control_noise=1.0, with_control=0.9)
    assert regret(benchmark, alike, rule, controls="own controls") < regret(benchmark, alike, rule) - 0.1


def test_a_late_first_rung_costs_less_ap_and_more_epochs(benchmark: Any) -> None:
    early, late = (benchmark.simulate(benchmark.Model(), 16, benchmark.asha(grace, 2), 150) for grace in (1, 3))
    assert late.regret < early.regret - 0.2
    assert late.survives > early.survives + 0.1
    assert late.epochs > 1.5 * early.epochs


def test_the_noise_of_simulated_curves_is_that_of_the_constants(benchmark: Any) -> None:
    noise_NE = benchmark.draw_noise(4000, 12, np.random.default_rng(0))
    at_E = np.arange(1, 13) / 12
    slow, epoch = (np.interp(at_E, benchmark.AT, each) for each in (benchmark.SLOW_SD, benchmark.EPOCH_SD))
    assert noise_NE.std(axis=0) == pytest.approx(np.hypot(slow, epoch), rel=0.05)
    curves = benchmark.draw_curves(benchmark.Model(spread=0.0), 4000, np.random.default_rng(0))
    assert curves.scores_NE.std(axis=0) == pytest.approx(np.sqrt(0.4) * np.hypot(slow, epoch), rel=0.05)


def test_the_settings_in_the_table_are_those_that_are_shipped(benchmark: Any) -> None:
    table = dict(benchmark.SHIPPED)
    for name in shipped_names("experiments"):
        experiment = load_experiment(name).experiment
        search = experiment.search
        assert table[f"`{name}`"] == (experiment.training.epochs, search.num_trials, search.scheduler)
    for device, num_images in (("CPU", 133), ("GPU", 2000)):
        images = Measurements(
            num_images=num_images, num_boxes=1000, short_side_px=480, aspect_ratio=1.5, box_sides=(0.1, 0.2, 0.4)
        )
        draft = recommend(images, has_gpu=device == "GPU")
        rule = benchmark.asha(draft.grace_epochs.value, draft.reduction_factor.value)
        assert table[f"`distune init`, {device}"] == (draft.epochs.value, draft.num_trials.value, rule)
    assert table["defaults of the settings, 12 epochs"][1:] == (SearchSettings().num_trials, AshaSettings())


@pytest.mark.parametrize("name", ["noise", "stopping", "assumptions", "epochs", "shipped", "pairing", "choice"])
def test_every_table_is_complete(benchmark: Any, name: str) -> None:
    assert set(benchmark.TABLES) == {"noise", "stopping", "assumptions", "epochs", "shipped", "pairing", "choice"}
    rows = [line for line in benchmark.TABLES[name](1) if line.startswith("|")]
    assert len(rows) > 6
    assert not [row for row in rows if " nan" in row]
    if name != "noise":
        assert len({row.count("|") for row in rows}) == 1
