"""The memory format of models in training."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from distune.training.memory_format import fast_format, to_fast_format

CPU = torch.device("cpu")


def model(*, groups: int = 1) -> nn.Module:
    return nn.Sequential(nn.Conv2d(4, 8, 3), nn.Conv2d(8, 8, 3, groups=groups))


@pytest.mark.parametrize(("groups", "expected"), [(1, False), (2, False), (8, True)], ids=["dense", "grouped", "depth"])
def test_only_depthwise_convolutions_ask_for_channels_last_on_a_cpu(groups: int, expected: bool) -> None:
    moved = model(groups=groups)
    to_fast_format(moved, CPU)
    assert all(each.is_contiguous(memory_format=torch.channels_last) == expected for each in weights(moved))


def test_a_gpu_always_has_channels_last() -> None:
    assert fast_format(model(), torch.device("cuda")) == torch.channels_last


def test_the_format_changes_no_weight() -> None:
    before = model(groups=8)
    moved = model(groups=8)
    moved.load_state_dict(before.state_dict())
    to_fast_format(moved, CPU)
    assert all(torch.equal(a, b) for a, b in zip(before.parameters(), moved.parameters(), strict=True))


def weights(of: nn.Module) -> list[nn.Parameter]:
    """Those whose formats can be told apart."""
    return [each for each in of.parameters() if each.dim() == 4 and each.shape[1] > 1]
