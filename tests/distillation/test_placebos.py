"""Placebos of the benchmarks keep the form of what they replace, and change its content."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch

from support.objectives import FEATURE_PASS, MakeTaps, build, source

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FILTER: dict[str, Any] = {"filter": {"weight": "quantile", "global_threshold": 0.3, "local_threshold": 0.3}}


@pytest.fixture
def placebos(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.syspath_prepend(BENCHMARKS)
    found: dict[str, Any] = importlib.import_module("placebos").PLACEBOS
    return found


def test_every_placebo_gives_finite_losses_that_differ(placebos: dict[str, Any], make_taps: MakeTaps) -> None:
    def losses(placebo: str | None) -> dict[str, float]:
        objective = build({**FILTER, "prototypes": {"source": FEATURE_PASS}})
        if placebo is not None:
            placebos[placebo](objective, 3)
        objective.begin_epoch(1, source(make_taps))
        found = objective(*make_taps(seed=5, boxes_per_image=(8, 6)))
        return {name: float(loss.detach()) for name, loss in found.items()}

    plain = losses(None)
    for placebo in placebos:
        changed = losses(placebo)
        assert changed.keys() == plain.keys()
        assert all(torch.isfinite(torch.tensor(value)) for value in changed.values())
        assert changed["global_knowledge"] != pytest.approx(plain["global_knowledge"])


def test_shuffled_weights_are_those_of_the_filter_in_another_order(
    placebos: dict[str, Any], make_taps: MakeTaps
) -> None:
    objective = build({**FILTER, "prototypes": {"source": FEATURE_PASS}})
    objective.begin_epoch(1, source(make_taps))
    results: list[Any] = []

    def record() -> None:
        """Record what the present filter returns."""
        weigh = objective._filter

        def weigh_and_record(*arguments: Any) -> Any:
            results.append(weigh(*arguments))
            return results[-1]

        objective._filter = weigh_and_record  # type: ignore[assignment]

    record()
    placebos["shuffled_filter"](objective, 0)
    record()
    objective(*make_taps(seed=5, boxes_per_image=(8, 6)))
    before, after = (result.local_LN for result in results)
    assert torch.equal(before.sort(dim=1).values, after.sort(dim=1).values)
    assert not torch.equal(before, after)
