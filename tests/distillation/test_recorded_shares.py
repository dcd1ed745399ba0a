"""Shares of the gradient on recorded trainings: what the balance would have delivered on every step.

Each recording has the lengths of the gradients of the task and of three terms at every step of a short training, as
natural logarithms; ``benchmarks/record_gradients.py`` makes them. The balance sees only the steps that it measures.

- ``shapes``: the pair of ``quickstart``, from scratch, with a new head.
- ``cells``, ``chess``, ``circuit_boards``: EfficientNet-Lite2 to Lite0, both from ImageNet weights, on photographs.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import fmean

import pytest
import torch

from distune.distillation.gradient_balance import GradientBalance

RECORDINGS = sorted((Path(__file__).parent / "data").glob("gradients_*.json"))
LIMIT = 1.3

Lengths = Sequence[float | None]


@dataclasses.dataclass(frozen=True)
class Recording:
    """The logarithms of lengths by step; None where there was no gradient, or a term had not started."""

    steps_per_epoch: int
    task: Lengths
    terms: dict[str, Lengths]

    @classmethod
    def read(cls, path: Path) -> Recording:
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def steps(self) -> Iterator[tuple[int, float, dict[str, float]]]:
        """The number of the step, the task's length, and the terms that have started: 0 for no gradient."""
        started: set[str] = set()
        for step, task in enumerate(self.task):
            started |= {name for name, lengths in self.terms.items() if lengths[step] is not None}
            yield step, _length(task), {name: _length(self.terms[name][step]) for name in self.terms if name in started}


def _length(log: float | None) -> float:
    return 0.0 if log is None else math.exp(log)


def balanced_factors(recording: Recording) -> Iterator[tuple[int, dict[str, float]]]:
    """The factors that the gradient balance uses at each step."""
    balance = GradientBalance(list(recording.terms))
    maps = [torch.zeros(1, 1, 1, 1, requires_grad=True)]
    loss = maps[0].sum()
    for step, task, terms in recording.steps():
        if step % recording.steps_per_epoch == 0:
            balance.begin_epoch()
        factors, _ = balance.step(task * loss, {name: length * loss for name, length in terms.items()}, maps)
        yield step, {name: float(factor) for name, factor in factors.items()}


def former_factors(recording: Recording) -> Iterator[tuple[int, dict[str, float]]]:
    """The factors before 0.2: the task's moving mean over the term's, measured on steps 0, 4, 16 and every 64th."""
    means: dict[str, float] = {}
    for step, task, terms in recording.steps():
        in_epoch = step % recording.steps_per_epoch
        if in_epoch in (0, 4, 16) or in_epoch % 64 == 0:
            for name, length in {"task": task, **terms}.items():
                if length > 0:
                    means[name] = means[name] ** 0.8 * length**0.2 if name in means else length
        yield step, {name: means["task"] / means[name] if name in means else 0.0 for name in terms}


def delivered(
    recording: Recording, factors: Callable[[Recording], Iterator[tuple[int, dict[str, float]]]]
) -> dict[str, dict[int, float]]:
    """Each term's delivered share over the asked one, by epoch: the geometric mean over all its steps."""
    logs: dict[str, dict[int, list[float]]] = {name: {} for name in recording.terms}
    for (step, task, terms), (_, used) in zip(recording.steps(), factors(recording), strict=True):
        for name, length in terms.items():
            if min(task, length, used[name]) > 0:
                epoch = step // recording.steps_per_epoch + 1
                logs[name].setdefault(epoch, []).append(math.log(used[name] * length / task))
    return {name: {epoch: math.exp(fmean(values)) for epoch, values in epochs.items()} for name, epochs in logs.items()}


def from_second_epoch(found: dict[str, dict[int, float]]) -> list[float]:
    return [share for epochs in found.values() for epoch, share in epochs.items() if epoch >= 2]


@pytest.fixture(params=RECORDINGS, ids=lambda path: path.stem.removeprefix("gradients_"))
def recording(request: pytest.FixtureRequest) -> Recording:
    return Recording.read(request.param)


def test_shares_are_delivered_from_the_second_epoch_on(recording: Recording) -> None:
    found = delivered(recording, balanced_factors)
    shares = from_second_epoch(found)
    assert len(shares) >= 3 * len(recording.terms) - 3
    assert max(shares) <= LIMIT, found
    assert min(shares) >= 1 / LIMIT, found


def test_the_former_formula_did_not_deliver_them(recording: Recording) -> None:
    assert min(from_second_epoch(delivered(recording, former_factors))) < 1 / LIMIT


def test_the_recordings_are_of_generated_and_of_real_images() -> None:
    assert len(RECORDINGS) >= 2
