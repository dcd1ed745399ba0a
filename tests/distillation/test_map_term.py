"""``MapTerm``: the mean over levels, and the networks of each level."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distune.distillation.term import Step
from distune.distillation.terms.map_term import MapTerm


class Scale(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))


def product(_step: Step, level: int, first: Scale, second: Scale) -> Tensor:
    return (level + 1) * first.factor * second.factor


def term() -> MapTerm:
    firsts, seconds = ([Scale(factor) for factor in factors] for factors in ((2.0, 3.0), (5.0, 7.0)))
    return MapTerm(product, adapters=nn.ModuleList(firsts), generators=nn.ModuleList(seconds))


def test_is_the_mean_over_levels_each_with_its_networks() -> None:
    step: Step = None  # type: ignore[assignment]
    assert float(term()(step).detach()) == (1 * 2 * 5 + 2 * 3 * 7) / 2


def test_networks_train_under_their_names() -> None:
    step: Step = None  # type: ignore[assignment]
    each = term()
    torch.autograd.backward(each(step))
    names = ["adapters.0.factor", "adapters.1.factor", "generators.0.factor", "generators.1.factor"]
    assert [name for name, _ in each.named_parameters()] == names
    assert all(parameter.grad is not None for parameter in each.parameters())
