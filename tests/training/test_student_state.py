"""A student that is stored and restored between epochs continues bit for bit, under every recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from distune.training import checkpoint
from support.small_students import images, parts_of, student, train
from support.solo_runs import assert_equal

MULTI_STEP = {"kind": "multi_step", "milestones": [0.6], "warmup_steps": 2}
SGD = {"kind": "sgd", "learning_rate": 0.01}
RECIPES: dict[str, dict[str, Any]] = {
    "one cycle": {"schedule": {"kind": "one_cycle"}},
    "multi step": {"schedule": MULTI_STEP},
    "constant": {"schedule": {"kind": "constant"}},
    "all settings": {
        "schedule": MULTI_STEP,
        "accumulate_batches": 2,
        "ema": {"decay": 0.5, "every_steps": 2, "warmup_steps": 1},
        "optimizer": {**SGD, "norm_weight_decay": 0.0, "bias_weight_decay": 0.1, "backbone_learning_rate_factor": 0.5},
    },
    "all settings, one cycle, AdamW": {
        "schedule": {"kind": "one_cycle"},
        "accumulate_batches": 3,
        "ema": {"decay": 0.5},
        "optimizer": {"kind": "adamw", "norm_weight_decay": 0.0, "backbone_learning_rate_factor": 0.5},
    },
}


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_a_restored_student_continues_bit_for_bit(tmp_path: Path, recipe: str) -> None:
    torch.set_num_threads(1)
    batches = parts_of(images(6), 2)

    def new() -> Any:
        return student("retinanet", batches=len(batches), changes=RECIPES[recipe])

    whole, first = new(), new()
    train(whole, batches)
    expected = train(whole, batches[::-1])
    train(first, batches)
    checkpoint.save(first.state_dict(), tmp_path / "last.pt")
    second, state = new(), checkpoint.load(tmp_path / "last.pt")
    assert state is not None
    second.load_state_dict(state)
    assert_equal(train(second, batches[::-1]), expected)
    assert_equal(second.evaluated_model.state_dict(), whole.evaluated_model.state_dict())
    rates = [each.state_dict()["optimizer"]["param_groups"] for each in (whole, second)]
    assert [group["lr"] for group in rates[0]] == [group["lr"] for group in rates[1]]


def test_a_student_that_was_stored_without_an_average_is_refused_with_one() -> None:
    plain = student("retinanet", batches=1)
    averaging = student("retinanet", batches=1, changes={"ema": {"decay": 0.5}})
    with pytest.raises(KeyError, match="ema"):
        averaging.load_state_dict(plain.state_dict())
