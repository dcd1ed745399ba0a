"""The task losses of one seeded detector per family on one batch equal the golden values."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from support.families import SETTINGS, batch, build
from support.golden import check_golden


@pytest.mark.parametrize("family", SETTINGS)
def test_task_losses_equal_the_golden_values(family: str, pytestconfig: pytest.Config) -> None:
    changes: dict[str, Any] = {} if family.startswith("ssd") else {"backbone": "resnet10"}  # that of the golden values
    detector = build(family, **changes)
    detector.model.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # two-stage families sample proposals with it
        losses = detector.forward_train(*batch()).losses
    check_golden(f"task_losses/{family}", {name: float(loss.detach()) for name, loss in losses.items()}, pytestconfig)
